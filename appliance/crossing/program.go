package crossing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/mailweir/mailweir/appliance/lab"
)

// program is a client that is a command of the machine, on a home of the lab.
type program struct {
	home  lab.Line
	login lab.Login
	dir   string // for messages and the like, its own
	leaves
}

func (p program) line() lab.Line { return p.home }
func (p program) width() int     { return 1 }

// files writes the case's messages and gives their names.
func (p program) files(c Case, to string) ([]string, error) {
	var names []string
	for i := range c.messages() {
		name := filepath.Join(p.dir, fmt.Sprintf("%d.eml", i))
		if err := os.WriteFile(name, compose(c, i, to), 0o600); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// output runs a command and gives what it printed; status is its exit status.
func (p program) output(ctx context.Context, stdin io.Reader, argv ...string) (out, said string, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := p.home.Namespace.Command(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		status, err = exit.ExitCode(), nil
	}
	return stdout.String(), stderr.String(), status, err
}
