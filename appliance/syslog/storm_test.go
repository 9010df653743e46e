package syslog

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/spool"
	"github.com/mailweir/mailweir/appliance/syslog/rsyslogtest"
	"github.com/mailweir/mailweir/appliance/verify"
)

var long = flag.Bool("storm", false, "the storm in its long form, over every transport: 20 ends of the collector, 3 of them after it hung, and 5 of the box each")

const (
	stormRate = 1000             // records a second
	hungFor   = 12 * time.Second // below writeTimeout: nobody ends the connection before the collector does
)

// What a storm does.
type act int

const (
	endCollector act = iota
	hangCollector
	killBox
)

// stormVariable has this test's binary be a box: it says stormRate records a second, until it is killed.
const stormVariable = "MAILWEIR_STORM_BOX"

func TestMain(m *testing.M) {
	if dir := os.Getenv(stormVariable); dir != "" {
		if err := stormBox(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

// stormBox puts together what a box has between what happens and the collector, as package appliance does, and ends cleanly with SIGTERM. The
// targets are its arguments: URL, CA, certificate and key.
func stormBox(dir string) error {
	ctx, end := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer end()
	chain, err := records.OpenChain(filepath.Join(dir, "records.state"), "box-1")
	if err != nil {
		return err
	}
	s, err := spool.Open(spool.Options{Dir: filepath.Join(dir, "spool"), Limit: 64 << 20, Facility: 20, After: chain.Seq()})
	if err != nil {
		return err
	}
	chain.Resume(s.Last())
	chain.Spooled(s.Kept())
	w := records.NewWriter(chain, 16384, time.Now)
	x, err := New(Config{Spool: s, Targets: []Target{{URL: os.Args[1], CAFile: os.Args[2], CertFile: os.Args[3], KeyFile: os.Args[4]}},
		OnEvent: func(e Event) { w.Say(e.Health()) }, MinPause: 50 * time.Millisecond, MaxPause: time.Second, Drain: time.Minute}) // so that what is missing is lost, and not left in the spool of a machine that is busy
	if err != nil {
		return err
	}
	chain.Before(s.Append)
	if e, tell := chain.Found().Health(time.Now()); tell {
		w.Say(e)
	}
	run := func(f func(context.Context) error) (stop func() error) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- f(ctx) }()
		return func() error { cancel(); return <-done }
	}
	stopSpool, stopWriter, stopExporter := run(s.Run), run(w.Run), run(x.Run)
	every := time.NewTicker(time.Second / stormRate)
	for i := 0; ctx.Err() == nil; i++ {
		w.Say(records.Session(records.SessionFacts{Subscriber: fmt.Sprintf(`S-"%d"]`, i), Plan: "residential", SNI: "mx.example", Start: time.Now(), End: time.Now(), EndReason: "fin"}))
		select {
		case <-every.C:
		case <-ctx.Done():
		}
	}
	err = stopWriter()
	s.Sync()
	return errors.Join(err, stopExporter(), stopSpool(), s.Close(), chain.Close())
}

// A collector that is ended at random again and again, half the time without warning, and once it hung before, so that its kernel has as much as it takes; and a box that is killed
// with -9, under 1000 records a second. Every number is there in the end; with TCP and TLS, which acknowledge nothing, what was sent again is a record.
func TestStorm(t *testing.T) {
	schemes, ends, hangs, kills := []string{"relp", "tcp", "tls"}, 3, 1, 2
	if *long {
		schemes, ends, hangs, kills = rsyslogtest.Schemes[1:], 17, 3, 5
	}
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel() // a storm mostly waits
			r := newRsyslog(t)
			dir := t.TempDir()
			target := at(r, scheme)[0]
			var errs bytes.Buffer
			begin := func() *exec.Cmd {
				box := exec.Command(os.Args[0], target.URL, target.CAFile, target.CertFile, target.KeyFile)
				box.Env = append(os.Environ(), stormVariable+"="+dir)
				box.Stderr = &errs
				box.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
				if err := box.Start(); err != nil {
					t.Fatal(err)
				}
				return box
			}
			box := begin()
			acts := slices.Concat(slices.Repeat([]act{endCollector}, ends), slices.Repeat([]act{hangCollector}, hangs), slices.Repeat([]act{killBox}, kills))
			rand.Shuffle(len(acts), func(i, j int) { acts[i], acts[j] = acts[j], acts[i] })
			for _, do := range acts {
				time.Sleep(time.Duration(500+rand.IntN(1500)) * time.Millisecond) // the storm is at random: nothing waits for this
				if do == killBox {
					if err := box.Process.Signal(syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
					box.Wait()
					box = begin()
					continue
				}
				sig := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[rand.IntN(2)]
				if do == hangCollector {
					time.Sleep(3 * time.Second) // the kernel's buffer grows with what went through it
					if err := r.Hang(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(hungFor)
					sig = syscall.SIGKILL
				}
				stopRsyslog(t, r, sig)
				time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
				if err := r.Start(); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Second)
			if err := box.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := box.Wait(); err != nil {
				t.Fatalf("%v: %s", err, errs.String())
			}
			last, _, err := records.ReadState(filepath.Join(dir, "records.state"))
			if err != nil {
				t.Fatal(err)
			}
			report, err := verify.Logs([]string{r.Out}, verify.Options{})
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(r.Out)
			if err != nil {
				t.Fatal(err)
			}
			missing := int(last) - report.Records
			t.Logf("%s: %d records, %d came twice, %d missing; %d ends of the collector, %d more after it hung, %d kills of the box", scheme, last, report.Duplicates, missing, ends, hangs, kills)
			if len(report.Boxes) != 1 || report.Boxes[0].First != 1 || report.Boxes[0].Last != last {
				t.Errorf("the log has %+v of 1 to %d; %s", report.Boxes, last, errs.String())
			}
			for _, f := range report.Findings {
				t.Errorf("%+v", f)
			}
			if !strings.HasPrefix(scheme, "relp") && !bytes.Contains(data, []byte(`what="records_again"`)) {
				t.Error("what was sent again was not stated")
			}
		})
	}
}
