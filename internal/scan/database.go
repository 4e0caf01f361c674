package scan

import (
	"errors"
	"fmt"
	"time"
)

// DefaultAge is how old a vulnerability database may be where it can be
// fetched.
const DefaultAge = 7 * 24 * time.Hour

// tolerance is by how much clocks may differ before a date from the future is
// taken for one.
const tolerance = time.Hour

// AgeError says that a database is of no use at this moment.
type AgeError struct {
	Database Database
	Now      time.Time
	Limit    time.Duration // 0 where it is from the future
}

func (e *AgeError) Error() string {
	built := e.Database.Built.UTC().Format("2006-01-02 15:04 MST")
	if e.Limit == 0 {
		return fmt.Sprintf("the vulnerability database is of %s, and here it is %s: either it or the clock is wrong", built, e.Now.UTC().Format("2006-01-02 15:04 MST"))
	}
	return fmt.Sprintf("the vulnerability database is of %s, which is %s old; it may be %s", built, Age(e.Now.Sub(e.Database.Built)), Age(e.Limit))
}

// Hint says what to do.
func (e *AgeError) Hint() string {
	if e.Limit == 0 {
		return "Look at the clock of this machine (date), and at where the database came from."
	}
	return "Fetch a newer one with ferry db pull, or import one with ferry db import FILE; --max-db-age allows an older one."
}

// Usable says whether a database may be used: it is not from the future, and
// no older than limit; a limit of 0 takes any age.
func (d Database) Usable(now time.Time, limit time.Duration) error {
	age := now.Sub(d.Built)
	switch {
	case d.Built.IsZero():
		return errors.New("the vulnerability database does not say of when it is")
	case age < -tolerance:
		return &AgeError{Database: d, Now: now}
	case limit > 0 && age > limit:
		return &AgeError{Database: d, Now: now, Limit: limit}
	}
	return nil
}

// Age writes a duration as people read it: 3 days, 5 h.
func Age(d time.Duration) string {
	switch days := int(d.Hours() / 24); {
	case d < time.Hour:
		return fmt.Sprintf("%d min", max(0, int(d.Minutes())))
	case days < 1:
		return fmt.Sprintf("%d h", int(d.Hours()))
	case days == 1:
		return "1 day"
	default:
		return fmt.Sprintf("%d days", days)
	}
}
