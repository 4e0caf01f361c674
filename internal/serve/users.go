package serve

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// MaxUsers is the largest file of users that is read, in bytes.
const MaxUsers = 1 << 20

// maxCost bounds what one login may cost: 2^14 rounds take about a second.
const maxCost = 14

// Users are names and hashed passwords. The nil Users let everybody in.
type Users struct {
	hashes map[string][]byte
	// nobody is a hash that a name without one is compared with, so that the
	// time tells nobody which names there are.
	nobody []byte

	// Hashing is slow by intent: few at once, and what was right is
	// remembered under a key that lives as long as the process.
	slots chan struct{}
	key   []byte
	mu    sync.Mutex
	known map[string][]byte
}

// ParseUsers reads a file as htpasswd -B writes it.
func ParseUsers(r io.Reader) (*Users, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxUsers+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxUsers {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxUsers)
	}
	u := &Users{
		hashes: map[string][]byte{}, known: map[string][]byte{},
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), key: make([]byte, sha256.Size),
	}
	cost, err := u.read(b)
	if err != nil {
		return nil, err
	}
	if len(u.hashes) == 0 {
		return nil, fmt.Errorf("it names no user: htpasswd -Bc FILE USER makes one")
	}
	// Never fails, and ends the process where a system has no randomness.
	_, _ = rand.Read(u.key)
	u.nobody, err = bcrypt.GenerateFromPassword(u.key[:16], cost)
	return u, err
}

// read returns the highest cost of a hash in b.
func (u *Users) read(b []byte) (cost int, err error) {
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, MaxUsers+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		c, err := u.add(line)
		if err != nil {
			return 0, fmt.Errorf("line %d: %w", n, err)
		}
		cost = max(cost, c)
	}
	return cost, lines.Err()
}

// add never repeats the line: it may hold a password by mistake.
func (u *Users) add(line string) (cost int, err error) {
	name, hash, ok := strings.Cut(line, ":")
	if !ok || name == "" {
		return 0, fmt.Errorf("write NAME:HASH, as htpasswd -B does")
	}
	if _, twice := u.hashes[name]; twice {
		return 0, fmt.Errorf("the same name stands in it twice")
	}
	if !strings.HasPrefix(hash, "$2") {
		return 0, fmt.Errorf("the password is not hashed by bcrypt: write it with htpasswd -B")
	}
	cost, err = bcrypt.Cost([]byte(hash))
	if err != nil {
		return 0, fmt.Errorf("the bcrypt hash is broken: write it anew with htpasswd -B")
	}
	if cost > maxCost {
		return 0, fmt.Errorf("the bcrypt hash has cost %d; at most %d is taken, as every login has to pay it", cost, maxCost)
	}
	u.hashes[name] = []byte(hash)
	return cost, nil
}

// allow says whether a request may be answered.
func (u *Users) allow(r *http.Request) bool {
	if u == nil {
		return true
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return false
	}
	mac := hmac.New(sha256.New, u.key)
	_, _ = io.WriteString(mac, name+"\x00"+password)
	sum := mac.Sum(nil)
	if hmac.Equal(sum, u.remembered(name)) {
		return true
	}
	select {
	case u.slots <- struct{}{}:
	case <-r.Context().Done():
		return false
	}
	defer func() { <-u.slots }()
	hash, exists := u.hashes[name]
	if !exists {
		hash = u.nobody
	}
	right := bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil
	if !right || !exists {
		return false
	}
	u.remember(name, sum)
	return true
}

func (u *Users) remembered(name string) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.known[name]
}

func (u *Users) remember(name string, sum []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known[name] = sum
}
