package diagnose

import (
	"bufio"
	"encoding/binary"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// wide reads UTF-16, which PowerShell writes into files, as UTF-8.
type wide struct {
	in    *bufio.Reader
	order binary.ByteOrder
	out   []byte
}

// narrow returns in as UTF-8, if it begins with the mark of UTF-16.
func narrow(in *bufio.Reader) *bufio.Reader {
	mark, err := in.Peek(2)
	if err != nil {
		return in
	}
	switch [2]byte(mark) {
	case [2]byte{0xff, 0xfe}:
		return bufio.NewReaderSize(&wide{in: in, order: binary.LittleEndian}, maxWhole)
	case [2]byte{0xfe, 0xff}:
		return bufio.NewReaderSize(&wide{in: in, order: binary.BigEndian}, maxWhole)
	}
	return in
}

func (w *wide) Read(p []byte) (int, error) {
	for len(w.out) < len(p) && len(w.out) < maxLine {
		r, err := w.unit()
		if err != nil && len(w.out) > 0 {
			break
		}
		if err != nil {
			return 0, err
		}
		if utf16.IsSurrogate(r) {
			low, _ := w.unit()
			r = utf16.DecodeRune(r, low)
		}
		w.out = utf8.AppendRune(w.out, r)
	}
	n := copy(p, w.out)
	w.out = w.out[n:]
	return n, nil
}

func (w *wide) unit() (rune, error) {
	var b [2]byte
	if _, err := io.ReadFull(w.in, b[:]); err != nil {
		return 0, io.EOF
	}
	return rune(w.order.Uint16(b[:])), nil
}
