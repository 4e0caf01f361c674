package cluster

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
)

// A Resolver is a DNS server that answers each name as it was told to: right,
// wrong, with an error, or not at all. Of names that nobody told it of it says
// that they do not exist.
type Resolver struct {
	mu     sync.Mutex
	names  map[string]Answer
	closed []func() error
}

// An Answer is what a resolver says about a name.
type Answer struct {
	// IP is the name's address, an IPv4.
	IP string
	// Code is the reply's code where there is no address: 2 is SERVFAIL,
	// 3 NXDOMAIN, 5 REFUSED.
	Code uint16
	// Silent leaves the question without any reply.
	Silent bool
}

const (
	dnsServFail  = 2
	dnsNXDomain  = 3
	dnsQuery     = 12 // bytes of a message before its question
	dnsTypeA     = 1
	dnsFlagReply = 0x8180 // a reply, recursion asked for and available
)

// startResolver serves UDP and TCP on port 53 of an address.
func startResolver(ip string) (*Resolver, error) {
	r := &Resolver{names: map[string]Answer{}}
	udp, err := net.ListenPacket("udp", net.JoinHostPort(ip, "53"))
	if err != nil {
		return nil, err
	}
	r.closed = append(r.closed, udp.Close)
	tcp, err := net.Listen("tcp", net.JoinHostPort(ip, "53"))
	if err != nil {
		return nil, firstError(err, udp.Close())
	}
	r.closed = append(r.closed, tcp.Close)
	go r.serveUDP(udp)
	go r.serveTCP(tcp)
	return r, nil
}

func (r *Resolver) close() error {
	var errs []error
	for _, c := range r.closed {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// Set says how a name is answered from now on.
func (r *Resolver) Set(name string, a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[strings.TrimSuffix(name, ".")] = a
}

func (r *Resolver) answer(name string) Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.names[strings.ToLower(name)]; ok {
		return a
	}
	return Answer{Code: dnsNXDomain}
}

func (r *Resolver) serveUDP(c net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if reply := r.reply(buf[:n]); reply != nil {
			_, _ = c.WriteTo(reply, from)
		}
	}
}

func (r *Resolver) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var size uint16
			if binary.Read(c, binary.BigEndian, &size) != nil {
				return
			}
			query := make([]byte, size)
			if binary.Read(c, binary.BigEndian, query) != nil {
				return
			}
			if reply := r.reply(query); reply != nil {
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
			}
		}()
	}
}

// reply answers one question (RFC 1035, section 4), or not.
func (r *Resolver) reply(query []byte) []byte {
	name, end := questionName(query)
	if name == "" || len(query) < end+4 {
		return nil
	}
	a := r.answer(name)
	if a.Silent {
		return nil
	}
	// Of other types than A there is nothing, which is no error.
	var answers uint16
	ip := net.ParseIP(a.IP).To4()
	if ip != nil && binary.BigEndian.Uint16(query[end:]) == dnsTypeA {
		answers = 1
	}
	b := append([]byte{}, query[:2]...)
	for _, field := range []uint16{dnsFlagReply | a.Code, 1, answers, 0, 0} {
		b = binary.BigEndian.AppendUint16(b, field)
	}
	b = append(b, query[dnsQuery:end+4]...)
	if answers == 1 {
		// The name again, as a pointer to the question; A, IN, 1 s, 4 bytes.
		b = append(b, 0xc0, dnsQuery, 0, dnsTypeA, 0, 1, 0, 0, 0, 1, 0, 4)
		b = append(b, ip...)
	}
	return b
}

// questionName reads the name that is asked for, and where it ends.
func questionName(query []byte) (string, int) {
	var labels []string
	at := dnsQuery
	for at < len(query) && query[at] != 0 {
		next := at + 1 + int(query[at])
		if next >= len(query) {
			return "", 0
		}
		labels = append(labels, string(query[at+1:next]))
		at = next
	}
	return strings.Join(labels, "."), at + 1
}
