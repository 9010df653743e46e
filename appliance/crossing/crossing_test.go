package crossing

import (
	"bytes"
	"context"
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
