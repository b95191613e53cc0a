// Browser is a browser for scripts, such as the demo: 'browser serve' starts a headless Chromium, and other
// commands, each in a process of its own, tell it what to do, as a person would.
//
//	browser serve &                 until it is stopped
//	browser open ADDRESS
//	browser type SELECTOR TEXT      in a field
//	browser submit                  Enter, in that field
//	browser follow SELECTOR         clicks on what leads to another page
//	browser wait SELECTOR           until the page has that
//	browser text SELECTOR           prints what a person reads there
//	browser save SELECTOR FILE      writes a link's file
//	browser picture FILE            of the page
//
// They meet at the Unix socket in $BROWSER.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/further/dashboard/browser"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "browser: what is to be done? The source lists the commands.")
		os.Exit(2)
	}
	os.Exit(app.Run(false, "The source lists the commands.", func(ctx context.Context) error {
		if os.Args[1] == "serve" {
			return serve(ctx)
		}
		return ask(os.Args[1:])
	}))
}

type answer struct{ Text, Error string }

// ask sends a command.
func ask(words []string) error {
	c, err := net.Dial("unix", os.Getenv("BROWSER"))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := json.NewEncoder(c).Encode(words); err != nil {
		return err
	}
	var a answer
	if err := json.NewDecoder(c).Decode(&a); err != nil {
		return err
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	if a.Text != "" {
		fmt.Println(a.Text)
	}
	return nil
}

func serve(ctx context.Context) error {
	b, err := browser.Start()
	if err != nil {
		return err
	}
	defer b.Close()
	l, err := net.Listen("unix", os.Getenv("BROWSER"))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	fmt.Fprintln(os.Stderr, "the browser is ready")
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var words []string
		var a answer
		if err = json.NewDecoder(bufio.NewReader(c)).Decode(&words); err == nil {
			a.Text, err = do(b, words)
		}
		if err != nil {
			a.Error = err.Error()
		}
		json.NewEncoder(c).Encode(a)
		c.Close()
	}
}

// do carries a command out.
func do(b *browser.Browser, words []string) (text string, err error) {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch words[0] {
	case "open":
		return "", b.Open(arg(1))
	case "type":
		return "", b.Type(arg(1), arg(2))
	case "submit":
		return "", b.Submit()
	case "follow":
		return "", b.Follow(arg(1))
	case "click":
		return "", b.Click(arg(1))
	case "wait":
		return "", b.Wait(fmt.Sprintf("document.querySelector(%q)", arg(1)))
	case "text":
		return b.Text(arg(1))
	case "cookie":
		cookies, err := b.Cookies()
		if err != nil || len(cookies) == 0 {
			return "", errors.Join(err, errors.New("there is no cookie"))
		}
		return cookies[0].Name + "=" + cookies[0].Value, nil
	case "save":
		link, err := b.Run(fmt.Sprintf("document.querySelector(%q).href", arg(1)))
		if err != nil {
			return "", err
		}
		_, encoded, _ := strings.Cut(link, ";base64,")
		content, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return "", err
		}
		return "", os.WriteFile(arg(2), content, 0o600)
	case "picture":
		picture, err := b.Screenshot()
		if err != nil {
			return "", err
		}
		return "", os.WriteFile(arg(1), picture, 0o600)
	}
	return "", fmt.Errorf("there is no command %q", words[0])
}
