// Package browser drives a headless Chromium, as a person does: it opens pages, types and clicks. The tests
// and the demo of the page use it. It speaks the DevTools protocol (chromedevtools.github.io/devtools-protocol)
// through two pipes, so the browser can be in another network namespace.
//
// Introduced in step 8, chapter dashboard.
package browser

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// limit is how long one thing may take.
const limit = time.Minute

// A Browser is a running Chromium with one page. Its methods are not safe for concurrent use.
type Browser struct {
	cmd     *exec.Cmd
	to      *os.File
	profile string
	session string // of the page
	ended   chan struct{}

	mu       sync.Mutex // guards all below
	last     int
	answers  map[int]chan message
	problems []string // what the browser has complained about: see Problems
}

type message struct {
	ID     int             `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
	Session string `json:"sessionId,omitempty"`
}

// Start starts a browser. prefix is put in front of its command, for example to enter a namespace.
func Start(prefix ...string) (b *Browser, err error) {
	profile, err := os.MkdirTemp("", "chromium")
	if err != nil {
		return nil, err
	}
	// It reads from descriptor 3, and writes to 4.
	theirIn, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	from, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirIn.Close()
	defer theirOut.Close()
	// Without a sandbox, which root can't have: the page is our own. /dev/shm is small in containers.
	args := append(prefix, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-zygote", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
		"--user-data-dir="+profile, "--remote-debugging-pipe", "about:blank")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+profile, "TMPDIR="+profile)
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	b = &Browser{cmd: cmd, to: to, profile: profile, ended: make(chan struct{}), answers: make(map[int]chan message)}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (shared/lab/setup.sh chromium installs it)", err)
	}
	go b.read(from)
	if err := b.attach(); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Close ends the browser.
func (b *Browser) Close() {
	syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) // with its children
	b.cmd.Wait()
	b.to.Close()
	<-b.ended
	for range 50 { // until its children have ended, they may make files
		if os.RemoveAll(b.profile) == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// attach finds the page.
func (b *Browser) attach() error {
	var targets struct {
		TargetInfos []struct{ TargetID, Type string }
	}
	if err := b.call("Target.getTargets", nil, &targets); err != nil {
		return err
	}
	for _, t := range targets.TargetInfos {
		if t.Type != "page" {
			continue
		}
		var attached struct{ SessionID string }
		if err := b.call("Target.attachToTarget", map[string]any{"targetId": t.TargetID, "flatten": true}, &attached); err != nil {
			return err
		}
		b.session = attached.SessionID
		for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
			if err := b.call(domain+".enable", nil, nil); err != nil {
				return err
			}
		}
		// The certificate is one that the operator compares by its fingerprint.
		return b.call("Security.setIgnoreCertificateErrors", map[string]any{"ignore": true}, nil)
	}
	return errors.New("the browser has no page")
}

// read takes what the browser says, until it ends. Messages end with a zero byte.
func (b *Browser) read(from *os.File) {
	defer close(b.ended)
	defer from.Close()
	r := bufio.NewReader(from)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			break
		}
		var m message
		if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m) != nil {
			continue
		}
		b.mu.Lock()
		if answer := b.answers[m.ID]; m.ID != 0 && answer != nil {
			delete(b.answers, m.ID)
			answer <- m
		}
		if p := problem(m); p != "" {
			b.problems = append(b.problems, p)
		}
		b.mu.Unlock()
	}
}

// problem returns what an event complains about: an error of a script, or what the page's policy has
// blocked.
func problem(m message) string {
	switch m.Method {
	case "Log.entryAdded":
		var e struct {
			Entry struct{ Level, Text, URL string }
		}
		if json.Unmarshal(m.Params, &e) == nil && (e.Entry.Level == "error" || strings.Contains(e.Entry.Text, "Content Security Policy")) {
			return e.Entry.Text + " " + e.Entry.URL
		}
	case "Runtime.exceptionThrown":
		return string(m.Params)
	}
	return ""
}

// Problems returns what the browser has complained about, and forgets it.
func (b *Browser) Problems() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.problems
	b.problems = nil
	return list
}

// call calls a method of the protocol.
func (b *Browser) call(method string, params, result any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	if params == nil {
		raw = []byte("{}")
	}
	answer := make(chan message, 1)
	b.mu.Lock()
	b.last++
	m := message{ID: b.last, Method: method, Params: raw, Session: b.session}
	b.answers[m.ID] = answer
	b.mu.Unlock()
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		return err
	}
	select {
	case m = <-answer:
	case <-b.ended:
		return errors.New("the browser has ended")
	case <-time.After(limit):
		return fmt.Errorf("%s: the browser does not answer", method)
	}
	if m.Error != nil {
		return fmt.Errorf("%s: %s", method, m.Error.Message)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(m.Result, result)
}

// Run runs a script in the page, waits for its promise if it is one, and returns its value as text.
func (b *Browser) Run(script string) (string, error) {
	var r struct {
		Result struct {
			Type  string
			Value any
		}
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	err := b.call("Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &r)
	switch {
	case err != nil:
		return "", err
	case r.ExceptionDetails != nil:
		return "", fmt.Errorf("%s: %s %s", script, r.ExceptionDetails.Text, r.ExceptionDetails.Exception.Description)
	case r.Result.Value == nil:
		return "", nil
	}
	return fmt.Sprint(r.Result.Value), nil
}

// Open opens a page.
func (b *Browser) Open(address string) error {
	var r struct{ ErrorText string }
	if err := b.leave(func() error { return b.call("Page.navigate", map[string]any{"url": address}, &r) }); err != nil {
		return fmt.Errorf("%s: %w %s", address, err, r.ErrorText)
	}
	if r.ErrorText != "" {
		return fmt.Errorf("%s: %s", address, r.ErrorText)
	}
	return nil
}

// leave does what leads to another page, and waits until that is there.
func (b *Browser) leave(do func() error) error {
	if _, err := b.Run("window.before = true"); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return b.Wait("!window.before && document.readyState === 'complete'")
}

// Wait waits until a script's value is true.
func (b *Browser) Wait(script string) error {
	var got string
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		if got, err = b.Run("!!(" + script + ")"); got == "true" {
			return nil
		}
	}
	page, _ := b.Run("location.href + '\\n' + document.body.innerText")
	return errors.Join(fmt.Errorf("it is not so: %s; the page is\n%.2000s", script, page), err)
}

// Type puts the focus on a field, as a person does by the Tab key or a click, and types a text in the place of
// what is there.
func (b *Browser) Type(selector, text string) error {
	if _, err := b.Run("{ const e = " + find(selector) + "; e.focus(); e.select() }"); err != nil {
		return err
	}
	if text == "" {
		return b.Key("Delete")
	}
	return b.Write(text)
}

// Write types a text where the focus is.
func (b *Browser) Write(text string) error {
	return b.call("Input.insertText", map[string]any{"text": text}, nil)
}

// Key presses and releases a key: "Tab", "Enter", "Delete" or "Space".
func (b *Browser) Key(name string) error {
	key := map[string]any{"key": name, "code": name}
	switch name {
	case "Tab":
		key["windowsVirtualKeyCode"] = 9
	case "Enter":
		key["windowsVirtualKeyCode"], key["text"] = 13, "\r"
	case "Delete":
		key["windowsVirtualKeyCode"] = 46
	case "Space":
		key["key"], key["windowsVirtualKeyCode"], key["text"] = " ", 32, " "
	}
	for _, kind := range []string{"keyDown", "keyUp"} {
		key["type"] = kind
		if err := b.call("Input.dispatchKeyEvent", key, nil); err != nil {
			return err
		}
	}
	return nil
}

// Click clicks on what a selector finds, with the mouse.
func (b *Browser) Click(selector string) error {
	at, err := b.Run("{ const e = " + find(selector) + "; e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); (r.left + r.width / 2) + ' ' + (r.top + r.height / 2) }")
	if err != nil {
		return err
	}
	var x, y float64
	if _, err := fmt.Sscan(at, &x, &y); err != nil {
		return fmt.Errorf("%s: it is at %q", selector, at)
	}
	for _, kind := range []string{"mouseMoved", "mousePressed", "mouseReleased"} {
		if err := b.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}, nil); err != nil {
			return err
		}
	}
	return nil
}

// Follow clicks on a link or a button that leads to another page.
func (b *Browser) Follow(selector string) error {
	return b.leave(func() error { return b.Click(selector) })
}

// Submit presses Enter, which sends the form that the focus is in.
func (b *Browser) Submit() error { return b.leave(func() error { return b.Key("Enter") }) }

// Text returns the text that a person sees in what a selector finds.
func (b *Browser) Text(selector string) (string, error) { return b.Run(find(selector) + ".innerText") }

// find returns a script for the element that a selector finds.
func find(selector string) string {
	quoted, _ := json.Marshal(selector)
	return fmt.Sprintf("(document.querySelector(%s) ?? (() => { throw new Error('the page has no ' + %[1]s) })())", quoted)
}

// Screen sets the size of the window in pixels, and whether the user likes it dark.
func (b *Browser) Screen(width, height int, dark bool) error {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	return errors.Join(
		b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil),
		b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil))
}

// Scripts switches the page's own scripts on or off. (Run works in any case.)
func (b *Browser) Scripts(on bool) error {
	return b.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": !on}, nil)
}

// Screenshot returns a picture of the whole page, in PNG.
func (b *Browser) Screenshot() ([]byte, error) {
	var r struct{ Data string }
	if err := b.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &r); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(r.Data)
}

// A Cookie is one that the browser has.
type Cookie struct {
	Name, Value, Domain, SameSite string
	Secure, HTTPOnly, Session     bool
}

// Cookies returns those of the page.
func (b *Browser) Cookies() (list []Cookie, err error) {
	var r struct{ Cookies []Cookie }
	err = b.call("Network.getCookies", nil, &r)
	return r.Cookies, err
}
