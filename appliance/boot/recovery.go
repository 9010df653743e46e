package boot

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/appliance/netconf"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// recoveryCommand is the first argument of the child that shows the recovery page while nothing is governed; the second is the configuration.
const (
	recoveryCommand = "image-recovery"
	recoveryChild   = "recovery"
)

// showRecovery is the child. It returns an exit code.
func showRecovery(config string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	version := ""
	if b, err := Machine(); err == nil {
		version = b.About.Version
	}
	err := appliance.Recover(ctx, appliance.RecoveryOptions{
		Options: appliance.Options{ConfigFile: config, DataDir: stateDir, Version: version, Log: log, ClockFile: ClockFile,
			Image: &appliance.Image{Machine: Machine, Links: Links, Restart: Restart, Erase: FactoryReset, Fits: Fits}},
		Standstill: func() webadmin.Standstill {
			return standing(standstillFile, governedFile, time.Now(), netconf.Uptime())
		},
		Govern:   tryAgain,
		PowerOff: func() error { return order(orderPowerOff) },
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "mailweir: recovery page: %v\n", err)
		return 1
	}
	return 0
}

// standing is what process 1 says in one file, with the last words of the program that governs from the other. up is the time since the kernel's start.
func standing(file, said string, now time.Time, up time.Duration) webadmin.Standstill {
	var s standstill
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil { // that nobody governs is certain: this runs
		s = standstill{State: webadmin.StateSafe, Why: "Why is not known: " + err.Error() + ".", Again: true}
	}
	v := webadmin.Standstill{State: s.State, Why: s.Why, Again: s.Again, Lines: lastWords(readString(said), spokenLines)}
	if s.Since > 0 {
		v.Since = webadmin.At(now.Add(s.Since - up))
	}
	if s.Until > up {
		v.Until = webadmin.At(now.Add(s.Until - up))
	}
	return v
}

// spokenLines are how many of the program's last lines are shown.
const spokenLines = 40

// lastWords are the last lines that a program said, or those around its panic: what follows that are stacks without end.
func lastWords(text string, most int) []string {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return nil
	}
	all := strings.Split(text, "\n")
	from := max(0, len(all)-most)
	for i := len(all) - 1; i >= 0 && !strings.HasPrefix(all[i], "time="); i-- { // a line of its log: it went on
		if strings.HasPrefix(all[i], "panic: ") || strings.HasPrefix(all[i], "fatal error: ") {
			from = min(from, max(0, i-most/4))
			break
		}
	}
	return all[from:min(from+most, len(all))]
}

// tryAgain has process 1 try to govern again: bypass ends, too.
func tryAgain() error {
	if err := gone(os.Remove(bypassFile)); err != nil {
		return err
	}
	if err := os.WriteFile(againFile, nil, 0o600); err != nil {
		return err
	}
	return unix.Kill(1, unix.SIGHUP)
}
