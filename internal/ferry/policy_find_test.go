package ferry_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/ferry"
	"ferry/internal/policy"
)

// TestPolicyIsFound where its author will have thought that it is: a gate that
// is not there for its name or for a link would be none.
func TestPolicyIsFound(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("real/"+policy.FileName, "version: 1\n")
	write("real/below/x", "")
	write("other/ferry.policy.yml", "version: 1\n")
	write("vex/"+policy.FileName, "version: 1\nvex: [{file: ../outside.json, author: x}]\n")
	write("outside.json", "{}")
	if err := os.Symlink(filepath.Join(dir, "real", "below"), filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	for from, want := range map[string]string{
		"real/below": "", "link": "", "other": "rename it", "vex": "does not lie in the policy's folder",
	} {
		_, err := ferry.Policy(world(t), ferry.PolicyRequest{Dir: filepath.Join(dir, from)})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", from, err, want)
		}
	}
}
