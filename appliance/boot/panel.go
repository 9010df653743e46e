package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/panel"
)

// panelCommand is the first argument of the child that drives the board's LED and obeys its buttons.
const panelCommand = "image-panel"

// servePanel is the child. It returns an exit code.
func servePanel() int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	p := &front{order: order, erase: FactoryReset, say: func(format string, args ...any) { fmt.Fprintf(os.Stderr, "mailweir: "+format+"\n", args...) }}
	buttons := &panel.Buttons{Sys: "/sys", Dev: "/dev", Do: p.do, Failed: func(err error) { p.say("%v", err) }}
	go buttons.Run(ctx)
	ask := newTeller(nil, stateDir)
	led, failed := panel.FindLED("/sys/class/leds"), false
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for led != nil {
		if err := led.Show(p.state(ctx, standstillFile, ask.ask)); err != nil && !failed {
			failed = true
			p.say("LED: %v", err)
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		break
	}
	<-ctx.Done()
	return 0
}

// front is what the board's front shows and does.
type front struct {
	order func(what string) error
	erase func() error
	say   func(format string, args ...any)
	held  atomic.Bool
}

// state is what the LED tells.
func (p *front) state(ctx context.Context, standstill string, ask func(context.Context) (seen, error)) panel.State {
	if p.held.Load() {
		return panel.Held
	}
	if _, err := os.Stat(standstill); !errors.Is(err, fs.ErrNotExist) {
		return panel.Unjudged
	}
	if s, err := ask(ctx); err != nil || !s.Ready {
		return panel.Starting
	}
	return panel.Governing
}

func (p *front) do(w panel.Wish) {
	var err error
	p.held.Store(w == panel.Hold || w == panel.Erase)
	switch w {
	case panel.PowerOff:
		p.say("the power button was pressed")
		err = p.order(orderPowerOff)
	case panel.Restart:
		p.say("the reset button was pressed shortly")
		err = p.order(orderRestart)
	case panel.Hold:
		p.say("the reset button is held: let go and nothing happens, hold it for ten seconds and ALL SETTINGS, USERS AND HISTORY ARE ERASED")
	case panel.LetGo:
		p.say("the reset button was let go of: nothing happens")
	case panel.Erase:
		p.say("the reset button was held for ten seconds: factory reset")
		err = p.erase()
	}
	if err != nil {
		p.held.Store(false)
		p.say("%v", err)
	}
}
