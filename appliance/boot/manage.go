package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/netconf"
	"github.com/mailweir/mailweir/appliance/routing"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// ManagementDir is where the state of the management port is, in memory.
const ManagementDir = netconf.Dir(runDir)

// manage is the child that keeps the addresses of the management port. It returns an exit code.
func manage(port, file string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	said := func(err error) { fmt.Fprintf(os.Stderr, "mailweir: management port %s: %v\n", port, err) }
	f := &follower{file: file, said: said}
	p := netconf.Port{Name: port, Dir: ManagementDir, Resolv: "/etc/resolv.conf", Say: said, Settings: func() config.Management { return f.config().Management }, Fresh: fresh, Own: routing.Management}
	if err := p.Run(ctx); err != nil {
		said(err)
		return 1
	}
	return 0
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// fresh tells whether nobody has made the first user yet.
func fresh() bool {
	_, err := os.Stat(filepath.Join(stateDir, webadmin.UsersFile))
	return errors.Is(err, fs.ErrNotExist)
}

// managementAddress is the first of the management port, for people; "": it has none.
func managementAddress() string {
	s, err := ManagementDir.State()
	if err != nil || s == nil || len(s.Addresses) == 0 {
		return ""
	}
	return s.Addresses[0].Addr().String()
}
