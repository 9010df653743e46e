// Package boot is process 1 of the image: the mailweir binary itself. It mounts, loads the kernel's modules, arms the watchdog, bridges the ports so that
// mail passes from the first second, opens the data partition, and then supervises children, which are the same binary again: `mailweir run`, which governs,
// the keeper of the management port's addresses, and that of the clock. Nothing that fails here may end process 1 (the kernel would panic) or keep mail from passing: it is said
// on the console, and the next step is tried. If governing fails again and again the box goes into safe mode: the bridge stays, nothing is queued.
package boot

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/update"
	"github.com/mailweir/mailweir/image/layout"
	"github.com/mailweir/mailweir/nfq/ruleset"
)

const (
	dataDir    = "/data"
	stateDir   = dataDir + "/mailweir"
	ownConfig  = dataDir + "/mailweir.yaml"
	runDir     = "/run/mailweir"
	inMemory   = runDir + "/mailweir.yaml" // where the other cannot be written
	netCommand = "image-net"               // first argument of who keeps the management port's addresses; then come the port and the configuration

	governChild = "govern"
)

// Reexec returns at once in an ordinary process. As process 1 of the image, or as one of its children that is no command of
// mailweir, it does the work of that and does not return.
func Reexec() {
	if len(os.Args) == 4 && os.Args[1] == netCommand {
		os.Exit(manage(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 3 && os.Args[1] == timeCommand {
		os.Exit(keepTime(os.Args[2]))
	}
	if len(os.Args) == 2 && os.Args[1] == stickCommand {
		os.Exit(sticks())
	}
	if len(os.Args) == 3 && os.Args[1] == menuCommand {
		os.Exit(menuOn(os.Args[2]))
	}
	if os.Getpid() != 1 {
		return
	}
	text, err := os.ReadFile(layout.AboutFile)
	if err != nil {
		return // process 1 of a container
	}
	var a layout.About
	if err := json.Unmarshal(text, &a); err != nil {
		fmt.Fprintf(os.Stderr, "mailweir: %s: %v\n", layout.AboutFile, err)
	}
	guard(func() { (&box{about: a}).main() })
	// It panicked, and its text is on the console. What children there are go on for as long as that can be read; then the slot gets its next try, or
	// the other slot is taken.
	time.Sleep(10 * time.Second)
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		panic(err) // the kernel starts the box again: panic=10
	}
}

// guard runs f and survives its panic.
func guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "mailweir: process 1: panic: %v\n", p)
		}
	}()
	f()
}

// box is the machine as process 1 sees it.
type box struct {
	about   layout.About
	log     *slog.Logger
	console *console
	watch   *watchdog
	options map[string]string // of the kernel's command line
	ports   ports
	update  *update.Box // nil: it is not known where the slots are
}

func (b *box) main() {
	mounts := mountAll()
	b.console = openConsole()
	b.log = slog.New(slog.NewTextHandler(b.console, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for _, err := range mounts {
		b.log.Error("mount", "err", err)
	}
	b.options = commandLine(readString("/proc/cmdline"))
	b.console.say("mailweir %s for %s, slot %s", b.about.Version, b.about.Board, b.options[layout.OptionSlot])
	b.try("clock", func() error { return clockFloor(time.Unix(b.about.Built, 0), dataDir) })

	m := openModules(layout.Modules, insert)
	for _, err := range m.base() {
		b.log.Error("module", "err", err)
	}
	m.settle(b.log)
	b.watch = openWatchdog(watchdogDevice, b.log)

	b.try("host name", func() error { return unix.Sethostname([]byte("mailweir")) })
	for _, err := range sysctls(settings) {
		b.log.Error("setting", "err", err)
	}
	b.try("network", func() (err error) { b.ports, err = bringUp(); return err })
	if b.ports.bridged() {
		b.try("web admin", shutBridge)
	}
	b.console.say("%s", b.ports)
	b.watch.pet()
	breakDown(b.about.Version)

	kept := true
	b.try("data partition", func() (err error) {
		done := b.watch.whileBusy()
		defer done()
		return openData(dataDir, b.options[layout.OptionESP], b.console, b.watch.pet)
	}, func() {
		kept = false
		b.try("data in memory", func() error { return unix.Mount("tmpfs", dataDir, "tmpfs", 0, "size=64m,mode=700") })
	})
	if !kept {
		b.console.say("NOTHING IS KEPT: settings and history are in memory and gone with the next start. The data partition was left as it is.")
	}
	b.try("clock", func() error { return clockFloor(time.Unix(b.about.Built, 0), dataDir) })
	onTrial := false
	b.try("slots", func() (err error) { onTrial, err = b.slots(); return err })
	b.supervise(m, onTrial)
}

// try does one step. A failure is told and survived; then come the functions after it.
func (b *box) try(what string, f func() error, failed ...func()) {
	err := fmt.Errorf("it panicked")
	guard(func() { err = f() })
	if err != nil {
		b.log.Error(what, "err", err)
		for _, g := range failed {
			g()
		}
	}
}

// supervise keeps the children alive until a signal asks for a reboot.
func (b *box) supervise(m *modules, onTrial bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGINT, unix.SIGTERM, unix.SIGHUP) // SIGINT: Ctrl-Alt-Del
	b.try("Ctrl-Alt-Del", func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) })

	safe := b.options["mailweir.safe"] == "1"
	if err := m.missing(needed); err != nil {
		b.log.Error("mail passes unjudged", "err", err)
		safe = true
	}
	if !b.ports.bridged() {
		b.console.say("SAFE MODE: there are not two ports to bridge, so there is nothing to govern")
		safe = true
	}
	config := ownConfig
	b.try("configuration", func() error { return configure(ownConfig, b.ports) }, func() {
		if _, err := os.Stat(ownConfig); err != nil {
			config = inMemory
			b.try("configuration in memory", func() error { return configure(inMemory, b.ports) })
		}
	})
	self, err := os.Executable()
	if err != nil {
		self = "/init"
	}
	s := newSupervisor(startProcess(self, b.console), b.log)
	s.reap()
	for _, name := range consoles() {
		s.add(&child{name: "console " + name, argv: []string{menuCommand, name}})
	}
	if b.ports.management != "" {
		s.add(&child{name: "net", argv: []string{netCommand, b.ports.management, config}})
		s.add(&child{name: "time", argv: []string{timeCommand, config}})
	}
	crashing := false
	if !safe && !onTrial { // a trial has a count of its own
		b.try("count of starts", func() (err error) { crashing, err = countStart(dataDir); return err })
	}
	switch {
	case safe || mute(b.about.Version):
		b.console.say("SAFE MODE: mail passes unjudged")
	case crashing:
		b.console.say("SAFE MODE: %d starts in a row ended within %v. The bridge is up, mail passes unjudged. In %v, or at the next start, governing is tried again.", startsMost, lasting, safeTime)
		afterwards(ctx, safeTime, func() { b.govern(ctx, s, config) })
	default:
		b.govern(ctx, s, config)
	}
	b.afterStart(ctx, config, m, s, onTrial)
	tick := time.NewTicker(watchdogPet)
	defer tick.Stop()
	saved := time.Now()
	for {
		select {
		case <-tick.C:
			if s.alive() { // takes the supervisor's lock: a supervisor that hangs bites
				b.watch.pet()
			}
			if time.Since(saved) > time.Hour {
				saved = time.Now()
				b.try("clock", func() error { return saveClock(dataDir) })
			}
		case sig := <-stop:
			if sig == unix.SIGHUP {
				b.bypass(s)
			} else {
				b.end(s, readString(orderFile))
			}
		}
	}
}

// govern starts governing.
func (b *box) govern(ctx context.Context, s *supervisor, config string) {
	s.add(&child{name: governChild, argv: []string{"run", "--config", config, "--data", stateDir}, loop: func() {
		b.console.say("SAFE MODE: governing ended %d times in %v. The bridge is up, mail passes unjudged. Start the box again to leave it.", loopEnds, loopTime)
		b.try("take the rules away", ruleset.Remove)
	}})
	if bypassed() { // asked for in safe mode
		s.hold(governChild, true)
	}
	go guard(func() { newTeller(b.console, stateDir).run(ctx) })
	afterwards(ctx, lasting, func() { b.try("count of starts", func() error { return lasted(dataDir) }) })
}

// bypass ends governing while somebody at the console wants that, and begins it again.
func (b *box) bypass(s *supervisor) {
	on := bypassed()
	switch {
	case !s.hold(governChild, on):
		b.console.say("nothing is governed in any case")
	case on:
		b.console.say("BYPASS: mail passes unjudged, until that is ended at the console or the box is started again")
	default:
		b.console.say("bypass has ended")
	}
}

// end stops all, and does what was ordered.
func (b *box) end(s *supervisor, what string) {
	b.console.say("stopping: %s", cmp.Or(what, orderRestart))
	s.stop(stopTime)
	b.try("clock", func() error { return saveClock(dataDir) })
	b.try("count of starts", func() error { return lasted(dataDir) })
	unix.Sync()
	b.try("unmount", func() error { return unix.Unmount(dataDir, 0) })
	if what == orderErase {
		b.try("factory reset", func() error {
			part, err := dataPartition()
			if err != nil {
				return err
			}
			return markErase(part)
		})
	}
	b.console.drain()
	b.watch.close()
	how := unix.LINUX_REBOOT_CMD_RESTART
	if what == orderPowerOff {
		how = unix.LINUX_REBOOT_CMD_POWER_OFF
		b.try("watchdog", b.watch.disarm)
	}
	b.try("end", func() error { return unix.Reboot(how) })
}

// commandLine are the words KEY=VALUE of the kernel's command line.
func commandLine(text string) map[string]string {
	m := map[string]string{}
	for _, w := range strings.Fields(text) {
		k, v, _ := strings.Cut(w, "=")
		m[k] = v
	}
	return m
}

// made begins a configuration that nobody has changed: with the sum of what comes after this line.
const made = "# Made by the box itself, and made anew at each start until something in it is changed: "

// configure writes what the box does until somebody says otherwise: observe, on the bridge. A configuration of the operator, which is any that was
// changed, stays.
func configure(file string, p ports) error {
	body := fmt.Appendf(nil, `mode: observe
network:
  topology: bridge
  subscriber_interfaces: [%s]
  upstream_interfaces: [%s]
`, p.subscribers, p.upstream)
	want := append([]byte(firstLine(body)), body...)
	switch text, err := os.ReadFile(file); {
	case err == nil && (!untouched(text) || bytes.Equal(text, want)):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return durable.Replace(file, want)
}

func firstLine(body []byte) string { return fmt.Sprintf("%s%x\n", made, sha256.Sum256(body)) }

// untouched tells whether text is as configure wrote it, for these ports or for others.
func untouched(text []byte) bool {
	head, body, ok := bytes.Cut(text, []byte("\n"))
	return ok && string(head)+"\n" == firstLine(body)
}

func readString(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
