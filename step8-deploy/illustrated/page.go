// Package illustrated makes the page illustrated.html: one ping of step 4 and one of step 8
// through all layers, byte by byte, and the handshakes before them, token by token.
//
// The messages on the page come from the course's own code, run with fixed keys (run_test.go).
// What the code keeps to itself, such as the hash after each token, is calculated a second
// time here (trace.go), and must lead to the same messages. In the reader's browser the page
// calculates all of it a third time, with the browser's own cryptography (page.js).
//
//	page.go     what is on the page, as data
//	frames.go   what each byte of a frame means
//	trace.go    a Noise handshake, token by token
//	story.go    the words around it
//	page.html, page.css, page.js
//
// To make the page anew: make illustrated, in step 8's folder.
package illustrated

import (
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"
)

// A Page is all that the reader sees.
type Page struct {
	Chapters []Chapter
	// Values are the bytes that the snippets know by name, such as nn.h3 or frames.ping4.
	Values map[string][]byte
}

// A Chapter is about one step: what passes in the cafe, the ping, and the handshake.
type Chapter struct {
	ID, Title string
	Intro     []template.HTML
	Captured  []Datagram
	Ping      []Frame
	Handshake Handshake
}

// A Datagram is one line of what eve has recorded.
type Datagram struct {
	From, To string
	Len      int // of the UDP payload, in bytes
	What     string
	Link     string // the ID of the Frame that shows it; "" if none does
}

// A Handshake is the frames of a handshake, and the calculation behind them.
type Handshake struct {
	Name   string // in Noise's notation
	Intro  []template.HTML
	Frames []Frame
	Groups []Group
}

// A Frame is one frame on a wire: its layers cover all of its bytes, in order.
type Frame struct {
	ID, Title string
	Intro     template.HTML
	Bytes     []byte
	Layers    []Layer
}

// A Layer is a part of a frame that one program reads. If it is encrypted, Inside has the same
// bytes again, as they are behind the encryption.
type Layer struct {
	Name, Kind string // Kind is a CSS class
	Fields     []Field
	Inside     []Layer
	// Plaintext is what is inside, with the length of this layer; nil if it isn't encrypted.
	// Open is JavaScript that decrypts it.
	Plaintext []byte
	Open      string
}

// A Field is a run of bytes with one meaning.
type Field struct {
	Name  string
	At    int // in the frame; in a plaintext, too
	Bytes []byte
	Value string // as people write it
	Text  template.HTML
	// Tshark is the name that tshark has for the field; "" if it knows nothing about it.
	Tshark string
	// Code is JavaScript that calculates the bytes anew, and returns them; "" if there is
	// nothing to calculate.
	Code string
}

// A Group is what one side does to make a message, or what both do before and after.
type Group struct {
	Title string
	Steps []Step
}

// A Step is one token, and what it changes.
type Step struct {
	Token  string
	Text   template.HTML
	Values []Value
}

// A Value is a result that a snippet can check.
type Value struct {
	Name  string // as in the snippets
	What  string
	Bytes []byte
	Code  string // as in Field
}

//go:embed page.html
var html string

//go:embed page.css
var css string

//go:embed page.js
var js string

// Write writes the page: one file that needs no network.
func (p Page) Write(w io.Writer) error {
	values := make(map[string]string)
	for name, b := range p.Values {
		values[name] = hex.EncodeToString(b)
	}
	data, err := json.MarshalIndent(values, "", " ")
	if err != nil {
		return err
	}
	t := template.New("page").Funcs(template.FuncMap{
		"hex":     hex.EncodeToString,
		"pairs":   pairs,
		"spans":   func(f Field) bool { return len(f.Bytes) > 1 },
		"last":    func(f Field) int { return f.At + len(f.Bytes) - 1 },
		"kind":    kindOf,
		"bytesOf": Layer.bytes,
		"snippet": func(summary, code string) snippet { return snippet{summary, code} },
		"note":    func(frame Frame, l Layer, f Field) placed { return placed{ID: id(frame, f, ""), Layer: l, Field: f} },
		"noteInside": func(frame Frame, l Layer, f Field, around Layer) placed {
			return placed{id(frame, f, "inside-"), l, f, around.Open, around.Plaintext}
		},
	})
	if t, err = t.Parse(html); err != nil {
		return err
	}
	return t.Execute(w, struct {
		Page
		CSS    template.CSS
		JS     template.JS
		Values template.JS
	}{p, template.CSS(css), template.JS(js), template.JS(data)})
}

// A snippet is JavaScript that the reader can run, and the words in front of it.
type snippet struct{ Summary, Code string }

// A placed is a field with what the template needs to know about its place.
type placed struct {
	ID        string
	Layer     Layer
	Field     Field
	Open      string // decrypts what the field is a part of...
	Plaintext []byte // ...which is this
}

func id(frame Frame, f Field, prefix string) string {
	return fmt.Sprintf("%s-%s%d", frame.ID, prefix, f.At)
}

// bytes returns all bytes of a layer.
func (l Layer) bytes() (b []byte) {
	for _, f := range l.Fields {
		b = append(b, f.Bytes...)
	}
	return b
}

// kindOf returns h, ck or k for a value such as nn.h3, and "" for others.
func kindOf(name string) string {
	_, name, _ = strings.Cut(name, ".")
	switch kind := strings.TrimRight(name, "0123456789"); kind {
	case "h", "ck", "k":
		return kind
	}
	return ""
}

// pairs returns the bytes as two hexadecimal digits each.
func pairs(b []byte) []string {
	var s []string
	for i := range b {
		s = append(s, hex.EncodeToString(b[i:i+1]))
	}
	return s
}

// words joins the lines of a text.
func words(s string) template.HTML { return template.HTML(strings.Join(strings.Fields(s), " ")) }
