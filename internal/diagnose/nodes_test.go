package diagnose

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What real API servers held of pods on real nodes, each with the failure that
// was arranged for it: test/cluster makes these files, and says in labels.json
// which causes are right, and of which versions the words are.
func TestRealNodes(t *testing.T) {
	folders, err := filepath.Glob("testdata/nodes/*")
	if err != nil || len(folders) < 2 {
		t.Fatalf("the cases of %d containerds are there: %v", len(folders), err)
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join(folder, "labels.json"))
			if err != nil {
				t.Fatal(err)
			}
			var labels struct{ Causes map[string][]string }
			if err := json.Unmarshal(b, &labels); err != nil {
				t.Fatal(err)
			}
			if len(labels.Causes) < 50 {
				t.Errorf("only %d cases", len(labels.Causes))
			}
			for name, right := range labels.Causes {
				checkNode(t, filepath.Join(folder, name+".json"), right)
			}
		})
	}
}

// checkNode reads one case: some cause that is right is named, and no other
// with certainty. "none" stands for no cause at all.
func checkNode(t *testing.T, file string, right []string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	reading, err := Read(bytes.NewReader(b), Setting{})
	if err != nil {
		t.Errorf("%s: %v", file, err)
		return
	}
	var named []string
	good := len(reading.Causes) == 0 && slices.Contains(right, "none")
	for _, c := range reading.Causes {
		ok := slices.Contains(right, string(c.Cause))
		good = good || ok
		named = append(named, string(c.Cause)+" ("+string(c.Confidence)+")")
		if !ok && c.Confidence == Certain {
			t.Errorf("%s: %s is certain; right is %v", file, c.Cause, right)
		}
	}
	if !good {
		t.Errorf("%s: %v; right is %v", file, named, right)
	}
}
