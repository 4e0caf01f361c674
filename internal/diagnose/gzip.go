package diagnose

import (
	"bufio"
	"bytes"
	"compress/gzip"
)

// unpacked returns in as it was before gzip, which rotates logs, where it is
// gzip. What comes of it is as limited as what comes in.
func unpacked(in *bufio.Reader) (*bufio.Reader, error) {
	mark, _ := in.Peek(3) // less than that is an answer too
	if !bytes.Equal(mark, []byte{0x1f, 0x8b, 8}) {
		return in, nil
	}
	out, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	return bufio.NewReaderSize(out, maxWhole), nil
}
