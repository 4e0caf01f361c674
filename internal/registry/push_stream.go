package registry

import (
	"context"
	"io"
)

// outgoing reads the blob for one request. Another one for the same upload
// takes its place, and what this one counted is taken back.
type outgoing struct {
	io.ReadCloser
	u *upload
}

func (o *outgoing) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	o.u.mu.Lock()
	defer o.u.mu.Unlock()
	if o.u.reading != o {
		return n, err
	}
	o.u.told += int64(n)
	o.u.advance(int64(n))
	if err != nil && err != io.EOF { //nolint:errorlint // a reader's end is io.EOF itself
		o.u.failed = err
	}
	return n, err
}

// open opens what is left to send.
func (u *upload) open(ctx context.Context) (io.ReadCloser, error) {
	u.forget(u.offset)
	r, err := u.src.Open(ctx, u.desc, u.offset)
	if err != nil {
		u.fail(err)
		return nil, err
	}
	o := &outgoing{ReadCloser: r, u: u}
	u.mu.Lock()
	u.reading = o
	u.mu.Unlock()
	return o, nil
}

func (u *upload) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed = err
}

// forget ends the counting of what is being sent: n bytes have arrived.
func (u *upload) forget(n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reading = nil
	if u.told != n {
		u.advance(n - u.told)
		u.told = n
	}
}
