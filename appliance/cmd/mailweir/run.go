package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/appliance/boot"
	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/lab"
)

// runDirs are in memory on Linux machines: the first as a rule (systemd's file-hierarchy(7)), the second also in most containers (shm_overview(7)).
var runDirs = []string{"/run/mailweir", "/dev/shm/mailweir"}

func runCommand(ctx context.Context, c *invocation) error {
	file := c.flags.String("config", "", "configuration file (required)")
	data := c.flags.String("data", "", "data directory, made if it is not there (required)")
	verbose := c.flags.Bool("verbose", false, "log debug messages to stderr")
	if rest, err := c.parse(); err != nil {
		return err
	} else if len(rest) > 0 {
		return usagef("run takes no argument %q", rest[0])
	}
	if *file == "" || *data == "" {
		return usagef("run needs --config FILE and --data DIR")
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	err := appliance.Run(ctx, appliance.Options{
		ConfigFile: *file,
		DataDir:    *data,
		RunDirs:    runDirs,
		Version:    version,
		Executable: "/proc/self/exe", // whatever is at its path by now
		Log:        slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: level})),
		Reload:     reload,
		ClockFile:  boot.ClockFile,
		Management: boot.ManagementDir,
		Image:      image(),
		Ready:      func() { fmt.Fprintln(c.stderr, "mailweir: ready") },
	})
	if ps, bad := errors.AsType[config.Problems](err); bad {
		return problems(c, ps.Few(appliance.LoggedProblems))
	}
	return err
}

// image is what process 1 of the image does for who governs; nil elsewhere.
func image() *appliance.Image {
	if !boot.Supervised() {
		return nil
	}
	return &appliance.Image{Machine: boot.Machine, Links: boot.Links, Restart: boot.Restart, Erase: boot.FactoryReset, Shape: boot.Shape, Kept: boot.Kept, Keep: boot.Keep, Ports: boot.CablingDir, Fits: boot.Fits}
}

// fromImage tells whether this machine was started from mailweir's image.
func fromImage() bool {
	_, err := boot.Machine()
	return !errors.Is(err, boot.ErrNoImage)
}

func checkCommand(_ context.Context, c *invocation) error {
	file := c.flags.String("config", "", "configuration file (required)")
	asJSON := c.flags.Bool("json", false, "print JSON")
	if rest, err := c.parse(); err != nil {
		return err
	} else if len(rest) > 0 {
		return usagef("check takes no argument %q", rest[0])
	}
	if *file == "" {
		return usagef("check needs --config FILE")
	}
	cfg, table, err := appliance.LoadConfig(*file)
	if err != nil {
		return problems(c, err)
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintf(c.stderr, "mailweir: warning: %v\n", w)
	}
	for _, w := range appliance.ListWarnings(table) {
		fmt.Fprintf(c.stderr, "mailweir: warning: %s\n", w)
	}
	told, err := appliance.NoticesProblems(cfg)
	if err != nil {
		return problems(c, err)
	}
	lacks, err := appliance.SentencesProblems(cfg)
	if err != nil {
		return problems(c, err)
	}
	for _, w := range lacks {
		fmt.Fprintf(c.stderr, "mailweir: warning: %v\n", w)
	}
	for _, w := range slices.Concat(told, appliance.BridgeWarnings(cfg), appliance.RoutingWarnings(cfg, fromImage())) {
		fmt.Fprintf(c.stderr, "mailweir: warning: %s\n", w)
	}
	if appliance.SubscribersMissing(cfg) {
		fmt.Fprintf(c.stderr, "mailweir: warning: %s is not there: every source would be unmapped\n", cfg.SubscribersPath())
	}
	effective := cfg.Effective
	if *asJSON {
		effective = cfg.EffectiveJSON
	}
	text, err := effective()
	if err != nil {
		return err
	}
	_, err = c.stdout.Write(text)
	return err
}

// problems prints what is wrong with a configuration, each problem on a line of
// its own but the last, which is left to Main.
func problems(c *invocation, err error) error {
	all, ok := errors.AsType[config.Problems](err)
	if !ok {
		return usageError{err}
	}
	for _, p := range all[:len(all)-1] {
		fmt.Fprintf(c.stderr, "mailweir: %v\n", p)
	}
	return usageError{all[len(all)-1]}
}

func labCommand(ctx context.Context, c *invocation) error {
	lasts := c.flags.Duration("for", 0, "stop by itself after this long, e.g. 2m; 0: run until Ctrl-C")
	if rest, err := c.parse(); err != nil {
		return err
	} else if len(rest) > 0 {
		return usagef("lab takes no argument %q", rest[0])
	}
	if *lasts < 0 {
		return usagef("--for %v: a duration above zero, e.g. 2m, or 0 to run until Ctrl-C", *lasts)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the own binary: %w", err)
	}
	return lab.Main(ctx, lab.MainOptions{Self: self, Out: c.stdout, Duration: *lasts})
}
