package boot

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/ntp"
	"github.com/mailweir/mailweir/image/layout"
)

// timeCommand is the first argument of the child that keeps the clock; the second is the configuration.
const timeCommand = "image-time"

// ClockFile has how it stands with the clock, for who governs.
const ClockFile = runDir + "/clock"

// keepTime is the child. It returns an exit code.
func keepTime(file string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	f := &follower{file: file, said: func(err error) { fmt.Fprintf(os.Stderr, "mailweir: clock: %v\n", err) }}
	var a layout.About
	if text, err := os.ReadFile(layout.AboutFile); err == nil {
		if err := json.Unmarshal(text, &a); err != nil {
			f.said(err)
		}
	}
	before, err := ntp.Load(ClockFile)
	if err != nil {
		f.said(err)
	}
	k := ntp.Keeper{
		Clock:   setClock{ntp.Kernel{}},
		Servers: func() []string { return ntpServers(f.config(), readString(ManagementDir.NTPServers())) },
		Floor:   time.Unix(a.Built, 0),
		Now:     time.Now,
		Tell: func(s ntp.State) {
			if err := s.Save(ClockFile); err != nil {
				f.said(err)
			}
		},
	}
	if before != nil {
		k.Stepped = before.Stepped
	}
	if err := k.Run(ctx); err != nil {
		f.said(err)
		return 1
	}
	return 0
}

// ntpServers are those of the configuration, or else those that DHCP named.
func ntpServers(c *config.Config, named string) []string {
	if len(c.NTP.Servers) > 0 {
		return c.NTP.Servers
	}
	return strings.Fields(named)
}

// setClock is the kernel's clock, of which the next start knows how far it was: one that was ahead by mistake and was set back must not be put
// ahead again, and one that was set must not begin at 1970.
type setClock struct{ ntp.Kernel }

func (c setClock) Step(by time.Duration) error {
	if err := c.Kernel.Step(by); err != nil {
		return err
	}
	return saveClock(dataDir)
}

// follower reads a configuration again when its file has changed. One that is bad changes nothing.
type follower struct {
	file string
	said func(error) // what is wrong with it
	seen fs.FileInfo
	last *config.Config
}

func (f *follower) config() *config.Config {
	if f.last == nil {
		f.last = config.Default()
	}
	info, err := os.Stat(f.file)
	if err != nil || f.seen != nil && os.SameFile(f.seen, info) && f.seen.ModTime().Equal(info.ModTime()) && f.seen.Size() == info.Size() {
		return f.last
	}
	f.seen = info
	c, err := config.Load(f.file)
	if err != nil {
		f.said(err)
		return f.last
	}
	f.last = c
	return c
}
