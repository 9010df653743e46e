package boot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// menuCommand is the first argument of the child that shows the menu on a console, which is the second.
const menuCommand = "image-console"

// menu is what an operator can do at a console. There is no shell behind it; whoever can type here can also pull the disk, so nobody logs in.
type menu struct {
	in   *bufio.Reader
	out  io.Writer
	echo func(on bool) error // shows what is typed
	box  menuBox
}

// menuBox is what a menu shows and does. The errors of command were told already.
type menuBox struct {
	title    string
	command  func(input string, args ...string) error    // one of mailweir's own, with its output to the console
	backups  func(look func(files []string) error) error // on sticks, while look runs
	address  func() string                               // of the management port; "": it has none
	code     func() string                               // for the first visit; "": there is none (any more)
	ports    func() string
	bypassed func() bool
	bypass   func(on bool) error
	log      func() string
	ping     func(host string, tell func(line string)) error
	order    func(what string) error
}

// run shows the menu to whoever presses Enter, until there is nothing more to read.
func (m *menu) run() error {
	for {
		m.say("\n%s. Press Enter for the menu.", m.box.title)
		if _, err := m.read(""); err != nil {
			return err
		}
		m.say("%s", menuText)
		choice, err := m.read("Number, then Enter: ")
		if err == nil {
			err = m.choose(choice)
		}
		if err != nil {
			return err
		}
	}
}

const menuText = ` 1  Status
 2  Web admin: address, and code for the first visit
 3  Ports, and bypass
 4  New password for a user of the web admin
 5  Slots and the last update
 6  Log
 7  Restart
 8  Power off
 9  Factory reset
10  Restore a backup from a USB stick
11  Ping`

// choose does one thing. Its error is one of the console, not of what was done.
func (m *menu) choose(choice string) error {
	switch choice {
	case "":
	case "1":
		m.command("status", "--data", stateDir)
	case "2":
		m.webAdmin()
	case "3":
		return m.bypass()
	case "4":
		return m.password()
	case "5":
		m.command("slots")
	case "6":
		m.say("%s", strings.TrimRight(m.box.log(), "\n"))
	case "7":
		return m.order("restart", orderRestart, "While the box starts no mail passes.")
	case "8":
		return m.order("power off", orderPowerOff, "While the box is off no mail passes.")
	case "9":
		return m.order("erase everything", orderErase, "All settings, users, keys, history and records on this box are erased, and it starts as from a fresh image. The versions in its slots stay.")
	case "10":
		return m.restore()
	case "11":
		return m.ping()
	default:
		m.say("There is no %q in the menu.", choice)
	}
	return nil
}

func (m *menu) webAdmin() {
	address := m.box.address()
	if address == "" {
		m.say("There is no address yet. With three ports or more the first one is for management; with two there is no web admin.")
		return
	}
	m.say("Web admin at %s", adminURL(address))
	if code := m.box.code(); code != "" {
		m.say("Code for the first visit: %s", code)
	}
}

func (m *menu) bypass() error {
	m.say("%s", m.box.ports())
	on := m.box.bypassed()
	if on {
		m.say("BYPASS: mail passes unjudged, and the web admin is a recovery page.")
	} else {
		m.say("In bypass mail passes unjudged, and the web admin is a recovery page, until it is ended there or here, or the box is started again.")
	}
	word := "bypass"
	if on {
		word = "govern"
	}
	sure, err := m.confirm(word)
	if err != nil || !sure {
		return err
	}
	m.done(m.box.bypass(!on), "It takes some seconds.")
	return nil
}

func (m *menu) password() error {
	if m.command("users", "--data", stateDir) != nil {
		return nil
	}
	name, err := m.read("Name, or Enter to go back: ")
	if err != nil || name == "" {
		return err
	}
	if strings.HasPrefix(name, "-") {
		m.say("There is no user %q.", name)
		return nil
	}
	if m.command("users", "reset", name, "--data", stateDir) != nil {
		return nil
	}
	sure, err := m.ask("If the second factor is lost, too, type %q: ", "drop")
	if err == nil && sure {
		m.command("users", "drop-factor", name, "--data", stateDir)
	}
	return err
}

// ping asks a host whether it answers, and whether names are found.
func (m *menu) ping() error {
	host, err := m.read("Address or name, or Enter to go back: ")
	if err != nil || host == "" {
		return err
	}
	if err := m.box.ping(host, func(line string) { m.say("%s", line) }); err != nil {
		m.say("%v", err)
	}
	return nil
}

// order has process 1 do something that ends all.
func (m *menu) order(word, what, means string) error {
	m.say("%s", means)
	sure, err := m.confirm(word)
	if err != nil || !sure {
		return err
	}
	m.done(m.box.order(what), "The box goes down now.")
	return nil
}

// confirm tells whether somebody typed the word.
func (m *menu) confirm(word string) (bool, error) {
	sure, err := m.ask("Type %q to go on: ", word)
	if err == nil && !sure {
		m.say("Nothing was done.")
	}
	return sure, err
}

func (m *menu) ask(format, word string) (bool, error) {
	said, err := m.read(fmt.Sprintf(format, word))
	return said == word, err
}

func (m *menu) done(err error, text string) {
	if err != nil {
		text = fmt.Sprintf("It was not done: %v", err)
	}
	m.say("%s", text)
}

// command runs one of mailweir's.
func (m *menu) command(args ...string) error { return m.fed("", args...) }

// fed runs one of mailweir's with a line at its standard input.
func (m *menu) fed(line string, args ...string) error {
	err := m.box.command(line, args...)
	if _, said := errors.AsType[*exec.ExitError](err); err != nil && !said {
		m.say("%v", err)
	}
	return err
}

func (m *menu) say(format string, args ...any) { fmt.Fprintf(m.out, format+"\n", args...) }

// read reads a line, without what cannot be seen.
func (m *menu) read(prompt string) (string, error) {
	io.WriteString(m.out, prompt)
	line, err := m.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, line)), nil
}

// secret is read, but for what is typed not being shown.
func (m *menu) secret(prompt string) (string, error) {
	if err := m.echo(false); err != nil {
		m.say("what is typed cannot be hidden: %v", err)
	}
	line, err := m.read(prompt)
	m.say("")
	return line, errors.Join(err, m.echo(true))
}

// menuOn is the child. It returns an exit code.
func menuOn(name string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if name == "tty0" {
		name = "tty1" // tty0 is whichever is in front
	}
	f, err := openTerminal(filepath.Join("/dev", name))
	if err != nil {
		fmt.Fprintf(os.Stderr, "mailweir: console %s has no menu: %v\n", name, err)
		wait(ctx, time.Hour) // it is no better when this is started again at once
		return 1
	}
	ended := make(chan error, 1)
	go func() { ended <- (&menu{in: bufio.NewReader(f), out: f, echo: echoOf(f), box: thisBox(f)}).run() }()
	select {
	case err = <-ended:
		fmt.Fprintf(os.Stderr, "mailweir: console %s: %v\n", name, err)
		wait(ctx, time.Minute)
		return 1
	case <-ctx.Done():
		return 0
	}
}

// openTerminal opens a console for lines that are shown while they are typed. No key stops it: what process 1 says goes there as well.
func openTerminal(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("TCGETS", err), f.Close())
	}
	t.Iflag = t.Iflag&^(unix.IXON|unix.IXOFF) | unix.ICRNL
	t.Oflag |= unix.OPOST | unix.ONLCR
	t.Lflag = t.Lflag&^unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
		return nil, errors.Join(os.NewSyscallError("TCSETS", err), f.Close())
	}
	return f, nil
}

// echoOf has a terminal show what is typed, or not.
func echoOf(f *os.File) func(on bool) error {
	return func(on bool) error {
		t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		if err != nil {
			return os.NewSyscallError("TCGETS", err)
		}
		if t.Lflag &^= unix.ECHO; on {
			t.Lflag |= unix.ECHO
		}
		return os.NewSyscallError("TCSETS", unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t))
	}
}

// thisBox is the machine that the menu runs on.
func thisBox(out *os.File) menuBox {
	t := newTeller(nil, stateDir)
	title := "mailweir"
	if b, err := Machine(); err == nil {
		title = fmt.Sprintf("mailweir %s, slot %s", b.About.Version, b.Running)
	}
	return menuBox{
		title:   title,
		backups: onSticks,
		command: func(input string, args ...string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			c := exec.Command(self, args...)
			c.Stdin, c.Stdout, c.Stderr = strings.NewReader(input), out, out
			return c.Run()
		},
		address: managementAddress,
		code: func() string {
			ctx, cancel := context.WithTimeout(context.Background(), checkTime)
			defer cancel()
			s, err := t.ask(ctx)
			if err != nil {
				return ""
			}
			return s.setupCode
		},
		ports:    portsNow,
		bypassed: bypassed,
		bypass:   setBypass,
		log:      func() string { return lastLines(readString(filepath.Join(runDir, "log")), 40) },
		ping:     ping,
		order:    order,
	}
}

// lastLines are the last n lines of a text.
func lastLines(text string, n int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}

// portsNow says which port does what, and which have a link.
func portsNow() string {
	p, err := portsHere()
	if err != nil {
		return err.Error()
	}
	p.address = map[string]string{}
	for _, n := range p.there(p.cards.Names...) {
		link := "no link"
		if readString("/sys/class/net/"+n+"/carrier") == "1" {
			link = "link"
		}
		p.address[n] = readString("/sys/class/net/"+n+"/address") + ", " + link
	}
	return p.with(shapeNow())
}
