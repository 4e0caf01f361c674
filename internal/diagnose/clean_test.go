package diagnose

import (
	"strconv"
	"strings"
	"testing"
)

// What stands in quotes was written by a Windows program: its backslashes part
// names, however often it was quoted since.
func TestCleanKeepsWindowsPaths(t *testing.T) {
	for _, path := range []string{
		`C:\Users\new\.docker\config.json`, `d:\repo\test\u0041\run`, `C:\nodes\tmp`, `C:\Program Files\nginx\rootfs`,
		`C:\Program Files (x86)\nginx`, `E:\größe\neu`, `C:\Users\RUNNER~1\AppData\Local\Temp\new`,
	} {
		text := `open ` + path + `: The system cannot find the file specified.`
		for level := range 4 {
			if got := clean(text); got != `open `+path+`: The system cannot find the file specified.` {
				t.Errorf("quoted %d times: %s", level, got)
			}
			text = strings.Trim(strconv.Quote(text), `"`)
		}
	}
}

// All else that a backslash stands before is escaped still.
func TestCleanUnescapes(t *testing.T) {
	for s, want := range map[string]string{
		`first\nsecond`:                       `first second`,
		`error:\nnext`:                        `error: next`,
		`a:\n  b`:                             `a: b`,
		`open \"C:\\Users\\new\"\nnext`:       `open "C:\Users\new" next`,
		`open C:\\Users\\new\nnext`:           `open C:\Users\new next`,
		`open "C:\Users\new"\nnext`:           `open "C:\Users\new" next`,
		`stat C:\tools\r.exe: no\n\tC:\new\x`: `stat C:\tools\r.exe: no C:\new\x`,
		`\\\"quoted\\\"`:                      `"quoted"`,
		`http:\/\/r.example\/v2`:              `http://r.example/v2`,
		`\u003cnil\u003e`:                     `<nil>`,
		`C:`:                                  `C:`,
		`C:\`:                                 `C:`,
		`C:\ x`:                               `C:\ x`,
		"C:\\a“b”\\nc":                        `C:\a"b" c`,
	} {
		if got := clean(s); got != want {
			t.Errorf("%s: got %s, want %s", s, got, want)
		}
	}
}
