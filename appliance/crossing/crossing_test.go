package crossing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

var mailweir string // the binary, built by TestMain from this tree

func TestMain(m *testing.M) {
	lab.Reexec()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "mailweir-crossing-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		mailweir = filepath.Join(dir, "mailweir")
		build := exec.Command("go", "build", "-o", mailweir, "../cmd/mailweir")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build mailweir: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// Every client with every server, a quarter of the known cases, through the box at work in both lanes: the numbers in the
// SESSION records hold. `make crossing` does all of them, and more, and has no slack.
func TestEstimatesHoldAgainstRealSoftware(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute) // three on a machine that does nothing else
	defer cancel()
	const parts = 8
	report, err := Cross(ctx, Options{
		Mailweir: mailweir,
		Phases:   []Phase{{Short(0, parts), FastLane}, {Short(1, parts), QueueLane}},
		Log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if report != nil {
		var b bytes.Buffer
		report.Write(&b)
		t.Logf("%d captured sessions\n%s", len(report.Sessions), b.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Goals(3); err != nil {
		t.Error(err)
	}
}

// ender is a client during whose last case the crossing is broken off.
type ender struct {
	client
	cases int
	end   context.CancelFunc
}

func (e *ender) run(ctx context.Context, c Case, s *Server) (claim, error) {
	if e.cases--; e.cases == 0 {
		e.end()
	}
	return e.client.run(ctx, c, s)
}

// A crossing that is broken off tells what it has learned until then.
func TestABrokenOffCrossingTellsWhatItHas(t *testing.T) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	l, err := lab.Start(t.Context(), lab.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := Build(ctx, l, log)
	if err != nil {
		t.Fatal(err)
	}
	r.clients = []client{&ender{r.clients[0], 4, cancel}}
	var corpus bytes.Buffer
	found, runs, err := r.phase(ctx, Options{Corpus: &corpus, Log: log}, "0", Phase{Plan: func(client, *Server) []Case {
		return []Case{{Kind: Mail}, {Kind: Mail, Messages: 3}}
	}, Way: Steered})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was broken off", err)
	}
	if len(found) < 3 || runs < 4 || bytes.Count(corpus.Bytes(), []byte("\n")) != len(found) {
		t.Errorf("%d sessions of %d cases, and a corpus of\n%s", len(found), runs, corpus.String())
	}
	for _, e := range found[:min(3, len(found))] {
		if _, x := e.best(); e.Messages != e.Case.messages() || !x.holds(e.Messages) {
			t.Errorf("%v: %d messages, estimated %v", e.Case, e.Messages, x)
		}
	}
}
