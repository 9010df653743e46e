package lab

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Reexec()
	if os.Args[0] == argVictim {
		victim()
	}
	os.Exit(m.Run())
}

// start builds a lab that ends with the test.
func start(t *testing.T) (*Lab, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	t.Cleanup(cancel)
	l, err := Start(ctx, Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error("close:", err)
		}
	})
	return l, ctx
}
