//go:build e2e

package report_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/ferry"
	"ferry/internal/policy"
)

// browser is a Chromium without a window, spoken to over two pipes.
type browser struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.Writer
	session string

	mu      sync.Mutex
	next    int
	answers map[int]chan message
	// complaints are what the page threw, logged, or was forbidden.
	complaints []string
	loaded     chan struct{}
	requests   []string
}

type message struct {
	ID        int             `json:"id,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     json.RawMessage `json:"error,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed: scripts/e2e-install")
	}
	toChild, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, fromChild, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, in: in, answers: map[int]chan message{}, loaded: make(chan struct{}, 10)}
	b.cmd = exec.CommandContext(t.Context(), program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
		"--user-data-dir="+profile(t), "--remote-debugging-pipe", "about:blank")
	b.cmd.ExtraFiles = []*os.File{toChild, fromChild}
	b.cmd.Env = append(os.Environ(), "HOME="+profile(t))
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = toChild.Close()
	_ = fromChild.Close()
	go b.listen(out)
	t.Cleanup(func() {
		_ = in.Close()
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
	})
	var target struct{ TargetID, SessionID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	b.session = target.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// profile is a folder of the browser's. Its helpers write into it for a moment
// after its end, so that it takes more than one try to remove.
func profile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ferry-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 50 {
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("%s cannot be removed", dir)
	})
	return dir
}

func (b *browser) listen(out io.Reader) {
	for r := bufio.NewReaderSize(out, 1<<20); ; {
		raw, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(raw[:len(raw)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		switch m.Method {
		case "":
			if answer := b.answers[m.ID]; answer != nil {
				answer <- m
			}
		case "Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening":
			b.complaints = append(b.complaints, m.Method+" "+string(m.Params))
		case "Network.requestWillBeSent":
			var p struct{ Request struct{ URL string } }
			_ = json.Unmarshal(m.Params, &p)
			b.requests = append(b.requests, p.Request.URL)
		case "Page.loadEventFired":
			b.loaded <- struct{}{}
		}
		b.mu.Unlock()
	}
}

// call calls a method of the browser's and waits for its answer.
func (b *browser) call(method string, params any, result any) {
	b.t.Helper()
	p, err := json.Marshal(params)
	if err != nil {
		b.t.Fatal(err)
	}
	if params == nil {
		p = nil
	}
	answer := make(chan message, 1)
	b.mu.Lock()
	b.next++
	m := message{ID: b.next, Method: method, Params: p, SessionID: b.session}
	b.answers[m.ID] = answer
	b.mu.Unlock()
	raw, _ := json.Marshal(m)
	if _, err := b.in.Write(append(raw, 0)); err != nil {
		b.t.Fatal(err)
	}
	select {
	case m = <-answer:
	case <-time.After(60 * time.Second):
		b.t.Fatalf("%s: no answer", method)
	}
	if m.Error != nil {
		b.t.Fatalf("%s: %s", method, m.Error)
	}
	if result != nil {
		if err := json.Unmarshal(m.Result, result); err != nil {
			b.t.Fatal(err)
		}
	}
}

// show writes a report and opens it as a file.
func (b *browser) show(r *ferry.ReportResult) string {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(page(b.t, r)), 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.call("Page.navigate", map[string]any{"url": "file://" + path}, nil)
	select {
	case <-b.loaded:
	case <-time.After(60 * time.Second):
		b.t.Fatal("the page does not load")
	}
	return path
}

// eval works out an expression in the page.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	var got struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": "Promise.resolve(" + expression + ")", "awaitPromise": true, "returnByValue": true}, &got)
	if got.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, got.ExceptionDetails)
	}
	return fmt.Sprint(got.Result.Value)
}

func (b *browser) wants(expression, want string) {
	b.t.Helper()
	if got := b.eval(expression); got != want {
		b.t.Errorf("%s is %q, want %q", expression, got, want)
	}
}

// quiet wants the page to have thrown nothing, to have been forbidden
// nothing, and to have asked for nothing but itself.
func (b *browser) quiet(path string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		b.t.Errorf("the page complains: %s", c)
	}
	for _, url := range b.requests {
		if url != "file://"+path && url != "about:blank" {
			b.t.Errorf("the page asks for %s", url)
		}
	}
	b.complaints, b.requests = nil, nil
}

// settle lets the page answer to what was done to it.
func (b *browser) settle() { b.eval("new Promise(r => setTimeout(() => r(1), 250))") }

// key presses a key, as a person without a mouse does.
func (b *browser) key(key string, code int) {
	b.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		p := map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
		if kind == "keyDown" && key == "Enter" {
			p["text"] = "\r"
		}
		b.call("Input.dispatchKeyEvent", p, nil)
	}
}

func everything() *ferry.ReportResult {
	r := sample(14, 25)
	refused(r)
	accepted(r)
	compared(r)
	r.PolicyFile = "bank.yaml"
	return r
}

func TestFiltersInChromium(t *testing.T) {
	b := startBrowser(t)
	r := everything()
	path := b.show(r)
	b.quiet(path)
	rows := "document.querySelectorAll('#rows tr').length"
	b.wants(rows, "100")
	b.wants("document.getElementById('count').textContent", fmt.Sprintf("%d findings, 100 of them shown.", len(r.Findings)))

	b.eval("(() => { const s = document.getElementById('search'); s.value = 'LIBLZMA5 2024-3094'; s.dispatchEvent(new Event('input', {bubbles: true})) })()")
	b.settle()
	b.wants(rows, "1")
	b.wants("document.querySelector('#rows .id').textContent", "CVE-2024-3094")
	b.wants("document.getElementById('count').textContent", fmt.Sprintf("1 of %d findings match.", len(r.Findings)))
	b.eval("document.querySelector('#filters button[type=reset]').click()")
	b.settle()
	b.wants(rows, "100")

	b.eval("document.querySelectorAll('[name=severity]').forEach(c => { if (c.value !== 'critical') c.click() })")
	b.settle()
	critical := 0
	for _, f := range r.Findings {
		if f.Severity == policy.Critical {
			critical++
		}
	}
	b.wants("document.getElementById('count').textContent.split(' ')[0]", fmt.Sprint(critical))
	b.wants("[...document.querySelectorAll('#rows .tag')].every(t => t.textContent === 'critical')", "true")
	b.eval("document.querySelector('#filters button[type=reset]').click()")
	b.settle()

	for value, want := range map[string]string{"refused": "1", "accepted": "1", "exploited": "1", "new": "1"} {
		b.eval("(() => { const s = document.getElementById('state'); s.value = '" + value + "'; s.dispatchEvent(new Event('change', {bubbles: true})) })()")
		b.wants(rows, want)
	}
	b.eval("document.querySelector('#filters button[type=reset]').click()")
	b.settle()

	// One image's findings, from its line in the list.
	b.eval("document.querySelector('button[data-image=\"0\"]').click()")
	b.wants("document.getElementById('only').hidden", "false")
	b.wants("document.getElementById('only-name').textContent", r.Images[0].Name)
	b.wants("document.activeElement.id", "findings")
	b.eval("document.getElementById('only-clear').click()")
	b.wants("document.getElementById('only').hidden", "true")

	// More, and the order.
	b.eval("document.getElementById('more').click()")
	b.wants(rows, "200")
	b.wants("document.activeElement === document.querySelectorAll('#rows tr')[100]", "true")
	b.eval("document.querySelector('th[data-sort=epss] button').click()")
	b.wants("document.querySelector('th[data-sort=epss]').getAttribute('aria-sort')", "descending")
	b.wants("(() => { const all = [...document.querySelectorAll('#rows tr')].map(r => parseFloat(r.cells[2].textContent) || 0); return all.every((v, i) => i === 0 || v <= all[i-1]) })()", "true")
	b.eval("document.querySelector('th[data-sort=epss] button').click()")
	b.wants("document.querySelector('th[data-sort=epss]').getAttribute('aria-sort')", "ascending")
	b.quiet(path)
}

func TestKeyboardInChromium(t *testing.T) {
	b := startBrowser(t)
	path := b.show(everything())
	b.key("Tab", 9)
	b.wants("document.activeElement.textContent", "Skip to the verdict")
	b.key("Enter", 13)
	b.settle()
	b.wants("document.activeElement.id", "main")
	// Everything that can be clicked can be reached, and has a name.
	b.wants("[...document.querySelectorAll('button, input, select')].every(e => e.tabIndex >= 0)", "true")
	b.wants(`[...document.querySelectorAll('button, input, select')].filter(e => !(e.textContent.trim() || e.labels?.length || e.getAttribute('aria-label'))).length`, "0")
	b.wants("[...document.querySelectorAll('svg')].filter(s => s.closest('[aria-hidden=true]') === null).length", "0")
	b.wants("[...document.querySelectorAll('section')].every(s => document.getElementById(s.getAttribute('aria-labelledby')))", "true")
	b.wants("document.querySelectorAll('h1').length", "1")
	b.eval("document.querySelector('th[data-sort=id] button').focus()")
	b.key("Enter", 13)
	b.settle()
	b.wants("document.querySelector('th[data-sort=id]').getAttribute('aria-sort')", "ascending")
	b.quiet(path)
}

func TestHostileTextInChromium(t *testing.T) {
	b := startBrowser(t)
	for _, evil := range hostile {
		path := b.show(spoiled(evil))
		b.eval("(() => { const s = document.getElementById('search'); s.value = 'a'; s.dispatchEvent(new Event('input', {bubbles: true})) })()")
		b.settle()
		b.eval("document.querySelectorAll('button:not(:disabled)').forEach(e => e.click())")
		b.settle()
		b.wants("document.querySelectorAll('script').length", "2")
		b.wants("document.querySelectorAll('img, iframe, a[href]:not(.skip)').length", "0")
		b.quiet(path)
	}
}

// The page's own policy is what stops a script that got in all the same.
func TestContentPolicyInChromium(t *testing.T) {
	b := startBrowser(t)
	b.show(everything())
	b.eval("(() => { const s = document.createElement('script'); s.textContent = 'window.ran = true'; document.body.append(s); const d = document.createElement('div'); d.innerHTML = '<img src=x onerror=\"window.ran = true\">'; document.body.append(d) })()")
	b.settle()
	b.wants("String(window.ran)", "undefined")
	b.mu.Lock()
	defer b.mu.Unlock()
	if !strings.Contains(strings.Join(b.complaints, " "), "Content Security Policy") {
		t.Errorf("the policy did not speak: %v", b.complaints)
	}
}

func TestLargeInChromium(t *testing.T) {
	b := startBrowser(t)
	began := time.Now()
	path := b.show(sample(200, 300))
	b.wants("document.querySelectorAll('#rows tr').length", "100")
	t.Logf("62,000 findings stand there after %v", time.Since(began))
	b.quiet(path)
}

// TestLooks takes pictures at a desk and on a phone, by day and by night, and
// one on paper. They are kept where FERRY_SCREENSHOTS says.
func TestLooks(t *testing.T) {
	dir := os.Getenv("FERRY_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	b := startBrowser(t)
	bare := sample(3, 0)
	bare.Verdict, bare.Database, bare.Findings, bare.Gate, bare.Clauses = nil, policy.DatabaseInfo{}, nil, "not gated", nil
	passed := sample(14, 25)
	accepted(passed)
	for name, r := range map[string]*ferry.ReportResult{"refused": everything(), "passed": passed, "bare": bare} {
		if only := os.Getenv("FERRY_LOOK"); only != "" && only != name {
			continue
		}
		for _, width := range []int{1280, 390} {
			for _, scheme := range []string{"light", "dark"} {
				b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}, nil)
				b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
				path := b.show(r)
				b.settle()
				// Nothing is wider than the window.
				b.wants("document.documentElement.scrollWidth <= window.innerWidth", "true")
				b.picture(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)))
				b.quiet(path)
			}
		}
	}
	b.call("Emulation.clearDeviceMetricsOverride", nil, nil)
	b.show(everything())
	var pdf struct{ Data string }
	b.call("Page.printToPDF", map[string]any{"printBackground": true, "preferCSSPageSize": true}, &pdf)
	raw, err := base64.StdEncoding.DecodeString(pdf.Data)
	if err != nil || len(raw) < 10_000 || string(raw[:4]) != "%PDF" {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "refused.pdf"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b *browser) picture(path string) {
	b.t.Helper()
	var size struct {
		CSSContentSize struct{ Width, Height float64 }
	}
	b.call("Page.getLayoutMetrics", nil, &size)
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{
		"captureBeyondViewport": true,
		"clip":                  map[string]any{"x": 0, "y": 0, "width": size.CSSContentSize.Width, "height": min(size.CSSContentSize.Height, 12_000), "scale": 1},
	}, &shot)
	raw, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
