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

// narrow returns in as UTF-8, if it is UTF-16: by its mark, or, where a tool
// left that out, by the zeros beside its first letters.
func narrow(in *bufio.Reader) *bufio.Reader {
	mark, err := in.Peek(2)
	if err != nil {
		return in
	}
	order := map[[2]byte]binary.ByteOrder{{0xff, 0xfe}: binary.LittleEndian, {0xfe, 0xff}: binary.BigEndian}[[2]byte(mark)]
	if order == nil {
		first, _ := in.Peek(unmarked) // less than that is an answer too
		order = orderOf(first)
	}
	if order == nil {
		return in
	}
	return bufio.NewReaderSize(&wide{in: in, order: order}, maxWhole)
}

// unmarked is how many bytes tell UTF-16 without its mark: so many letters in
// a row that each have a zero on the same side are no other text.
const unmarked = 32

// orderOf says in which order the bytes of UTF-16 stand; nil for other text.
func orderOf(first []byte) binary.ByteOrder {
	if len(first) < unmarked {
		return nil
	}
	zeros := [2]int{}
	for i, b := range first[:unmarked] {
		if b == 0 {
			zeros[i%2]++
		}
	}
	switch zeros {
	case [2]int{0, unmarked / 2}:
		return binary.LittleEndian
	case [2]int{unmarked / 2, 0}:
		return binary.BigEndian
	}
	return nil
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
