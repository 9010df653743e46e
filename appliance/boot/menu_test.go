package boot

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var rewrite = flag.Bool("update", false, "write testdata anew")

// terminal is a pseudo-terminal: what a console shows, and somebody who types.
type terminal struct {
	t      *testing.T
	master *os.File
	slave  string

	mu    sync.Mutex
	shown strings.Builder
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	c := &terminal{t: t, master: os.NewFile(uintptr(fd), "ptmx"), slave: fmt.Sprintf("/dev/pts/%d", n)}
	t.Cleanup(func() { c.master.Close() })
	return c
}

// watch reads what is shown, until the other end is closed.
func (c *terminal) watch() {
	b := make([]byte, 4096)
	for {
		n, err := c.master.Read(b)
		c.mu.Lock()
		c.shown.Write(b[:n])
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *terminal) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.ReplaceAll(c.shown.String(), "\r\n", "\n")
}

// types waits until the prompt is the last that is shown, and types a line.
func (c *terminal) types(prompt, line string) {
	c.t.Helper()
	c.press(prompt, line+"\r")
}

func (c *terminal) press(prompt, keys string) {
	c.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.HasSuffix(c.text(), prompt); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("the prompt %q does not come:\n%s", prompt, c.text())
		}
	}
	if _, err := c.master.WriteString(keys); err != nil {
		c.t.Fatal(err)
	}
}

func TestTheConsolesMenu(t *testing.T) {
	c := newTerminal(t)
	f, err := openTerminal(c.slave)
	if err != nil {
		t.Fatal(err)
	}
	var did []string
	on, in := false, false
	sticks := t.TempDir()
	locked, open := filepath.Join(sticks, "mailweir-box.zip.age"), filepath.Join(sticks, "mailweir-box.zip")
	for path, text := range map[string]string{locked: "age-encryption.org/v1\n", open: "PK"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := &menu{in: bufio.NewReader(f), out: f, echo: echoOf(f), box: menuBox{
		title: "mailweir v1, slot a",
		backups: func(look func([]string) error) error {
			if !in { // the first time
				in = true
				return look(nil)
			}
			return look([]string{locked, open})
		},
		command: func(input string, args ...string) error {
			did = append(did, strings.ReplaceAll(strings.TrimSpace(strings.Join(args, " ")+" "+input), sticks, "STICK"))
			switch {
			case input == "wrong horse":
				fmt.Fprintln(f, "mailweir: the passphrase is another one")
				return fmt.Errorf("restore: %w", &exec.ExitError{})
			case args[0] == "slots":
				return errors.New("no such program")
			case strings.Join(args[:2], " ") == "users reset" && args[2] == "bob":
				fmt.Fprintln(f, "mailweir: no user bob")
				return fmt.Errorf("users: %w", &exec.ExitError{})
			}
			fmt.Fprintf(f, "(what mailweir %s says)\n", args[0])
			return nil
		},
		address:  func() string { return "192.168.77.1" },
		code:     func() string { return "ab-cd-ef" },
		ports:    func() string { return "port1 (52:54:00:00:00:01, link): management" },
		bypassed: func() bool { return on },
		bypass:   func(to bool) error { on = to; did = append(did, fmt.Sprint("bypass ", to)); return nil },
		log:      func() string { return "[1.00s] one\n[2.00s] two\n" },
		ping: func(host string, tell func(string)) error {
			if tell(host + " is asked"); host == "nobody" {
				return errors.New("no such host")
			}
			return nil
		},
		order: func(what string) error {
			did = append(did, "order "+what)
			if what == orderPowerOff {
				return errors.New("there is no power off")
			}
			return nil
		},
	}}
	over := make(chan error, 1)
	go func() { over <- m.run(); f.Close() }()
	watched := make(chan bool)
	go func() { c.watch(); close(watched) }()
	const idle, number = "Press Enter for the menu.\n", "Number, then Enter: "
	choose := func(n string, then ...string) {
		t.Helper()
		c.types(idle, "")
		c.types(number, n)
		for i := 0; i < len(then); i += 2 {
			c.types(then[i], then[i+1])
		}
	}
	for n := range 2 {
		choose(fmt.Sprint(n + 1))
	}
	choose("3", `Type "bypass" to go on: `, "no")
	choose("3", `Type "bypass" to go on: `, "bypass")
	choose("3", `Type "govern" to go on: `, "govern")
	choose("4", "Name, or Enter to go back: ", "bob")
	choose("4", "Name, or Enter to go back: ", "--help")
	choose("4", "Name, or Enter to go back: ", "anna", `If the second factor is lost, too, type "drop": `, "drop")
	choose("5")
	choose("6")
	choose("7", `Type "restart" to go on: `, "restart")
	choose("8", `Type "power off" to go on: `, "power off")
	choose("9", `Type "erase everything" to go on: `, "erase")
	choose("9", `Type "erase everything" to go on: `, "erase everything")
	choose("10")
	const which, sure = "Number, or Enter to go back: ", `Type "restore" to go on: `
	choose("10", which, "")
	choose("10", which, "3")
	choose("10", which, "1", "Its passphrase: ", "wrong horse")
	choose("10", which, "1", "Its passphrase: ", "right horse", sure, "restore")
	choose("10", which, "2", sure, "no")
	choose("10", which, "2", sure, "restore")
	choose("11", "Address or name, or Enter to go back: ", "")
	choose("11", "Address or name, or Enter to go back: ", "nobody")
	choose("11", "Address or name, or Enter to go back: ", "192.0.2.1")
	choose("12\x1b[A")
	choose("")
	c.press(idle, "\x04") // end of input
	if err := <-over; err == nil {
		t.Error("the menu ended without an error")
	}
	<-watched
	if strings.Contains(c.text(), "horse") {
		t.Error("a passphrase was shown while it was typed")
	}
	golden := filepath.Join("testdata", "menu.txt")
	first, rest, _ := strings.Cut(strings.ReplaceAll(c.text(), "^D", ""), menuText)
	text := first + menuText + strings.ReplaceAll(rest, menuText, "(the menu)") + "\ndid:\n" + strings.Join(did, "\n") + "\n"
	if *rewrite {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != text {
		t.Errorf("%v; not as in %s (-args -update writes it anew):\n%s", err, golden, text)
	}
}

// Ctrl-S on a serial line or Scroll Lock would stop all who write there.
func TestATerminalThatTakesNothingHoldsNobodyUp(t *testing.T) {
	c := newTerminal(t)
	f, err := openTerminal(c.slave)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := newRelay(f) // nobody reads at the other end
	line := []byte(strings.Repeat("x", 1000) + "\n")
	for range 2 * relayRoom {
		if n, err := r.Write(line); n != len(line) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if r.waiting.Load() == 0 {
		t.Error("all was taken: this test shows nothing")
	}
	go c.watch()
	con := &console{}
	con.out = append(con.out, r)
	con.drain()
	if n := r.waiting.Load(); n > 0 {
		t.Errorf("%d writes wait, although somebody reads", n)
	}
}

func TestTheLogKeepsTheLast(t *testing.T) {
	l := &logFile{path: filepath.Join(t.TempDir(), "log")}
	line := strings.Repeat("x", 100)
	const lines = 3000
	for n := range lines {
		if _, err := fmt.Fprintf(l, "%d %s\n", n, line); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(l.path)
	if err != nil || len(text) > logMost || len(text) < logMost/3 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	last := lastLines(strings.TrimSpace(string(text)), 2)
	if want := fmt.Sprintf("%d %s\n%d %s", lines-2, line, lines-1, line); last != want {
		t.Errorf("%q", last)
	}
	if first, _, _ := strings.Cut(string(text), " "); len(text) == 0 || first == "" || strings.Contains(first, "x") {
		t.Errorf("it begins in the middle of a line: %.20q", text)
	}
}
