package boot

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// A box with a neighbour who is there, and nobody at the other addresses of that network.
func TestPing(t *testing.T) {
	t.Parallel()
	box, neighbour := nfqtest.NewSpace(t), nfqtest.NewSpace(t)
	box.Must(func() error {
		return errors.Join(nfqtest.Veth("port1", "net0", neighbour), nfqtest.Address("port1", "192.0.2.1/24", "2001:db8::1/64"))
	})
	neighbour.Must(func() error { return nfqtest.Address("net0", "192.0.2.2/24", "2001:db8::2/64") })
	box.WaitFor("port1")
	for _, row := range []struct {
		host, want string
		err        error
	}{
		{"192.0.2.2", `^(answer from 192\.0\.2\.2 in \d+\.\d ms\n){3}3 of 3 answered$`, nil},
		{"2001:db8::2", `^(answer from 2001:db8::2 in \d+\.\d ms\n){3}3 of 3 answered$`, nil},
		{"192.0.2.9", `^(no answer from 192\.0\.2\.9 in 1s\n){3}0 of 3 answered$`, nil},
		{"198.51.100.1", `^$`, unix.ENETUNREACH},
	} {
		var said []string
		var err error
		box.Do(func() { err = ping(row.host, func(line string) { said = append(said, line) }) })
		if all := strings.Join(said, "\n"); !errors.Is(err, row.err) || !regexp.MustCompile(row.want).MatchString(all) {
			t.Errorf("%s: %v\n%s", row.host, err, all)
		}
	}
	if err := ping("no such name", func(line string) { t.Error(line) }); err == nil {
		t.Error("a name that cannot be one is found")
	}
}
