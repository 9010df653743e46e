package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/nfq/tags"
	webadmin "github.com/mailweir/mailweir/web-admin"
	"github.com/vishvananda/netlink"
)

// tagged is what is done about mail that crosses the bridge with VLAN tags or in PPPoE.
type tagged struct {
	tags    *tags.Tags // nil: it passes unjudged
	lacking string     // why
}

func (a *Appliance) openTags(cfg *config.Config) {
	if a.bridge != nil {
		a.tagged = newTagged(cfg, a.size, a.log)
	}
}

func newTagged(cfg *config.Config, size sizes, log *slog.Logger) tagged {
	t, err := tags.Open(tags.Options{Ports: cfg.Network.Ports(), Pairs: size.pairs, Log: log})
	if err != nil {
		log.Info("mail with VLAN tags or in PPPoE passes unjudged", "err", err)
		return tagged{lacking: err.Error()}
	}
	return tagged{tags: t}
}

// lookAtTags keeps the program on the ports as the configuration wants it.
func (a *Appliance) lookAtTags(cfg *config.Config) {
	switch {
	case a.tagged.tags == nil:
	case cfg.Network.Tagged == config.Pass:
		a.tagged.tags.Rest()
	default:
		a.tagged.tags.Look(a.bridge.State().Name, slices.Concat(cfg.Network.SubscriberInterfaces, cfg.Network.UpstreamInterfaces))
	}
}

// watchPorts looks at the tags as soon as an interface comes to the bridge: frames cross a new port at once.
func (a *Appliance) watchPorts(ctx context.Context) error {
	if a.tagged.tags == nil {
		return nil
	}
	for {
		err := a.portsCome(ctx)
		if ctx.Err() != nil {
			return nil
		}
		a.log.Warn("the kernel's news of interfaces cannot be read; they are looked at now and then all the same", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(10 * time.Second):
		}
	}
}

// portsCome returns nil when ctx ends, and otherwise why the kernel's news ended.
func (a *Appliance) portsCome(ctx context.Context) error {
	news, done, failed := make(chan netlink.LinkUpdate, 64), make(chan struct{}), make(chan error, 1)
	tell := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	if err := netlink.LinkSubscribeWithOptions(news, done, netlink.LinkSubscribeOptions{ErrorCallback: tell}); err != nil {
		return err
	}
	defer func() {
		close(done)
		go func() { // who fills it may be waiting for room
			for range news {
			}
		}()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case l, more := <-news:
			if !more {
				return errors.New("they ended")
			}
			if l.Attrs().MasterIndex != 0 {
				a.lookAtTags(a.cfg.Load())
			}
		}
	}
}

// close is called when nothing is held any more: what is held wants its tags.
func (t *tagged) close() error {
	if t.tags == nil {
		return nil
	}
	return t.tags.Close()
}

// view is what status says of it.
func (t *tagged) view() webadmin.Tagged {
	if t.tags == nil {
		return webadmin.Tagged{Why: t.lacking}
	}
	s := t.tags.State()
	v := webadmin.Tagged{
		On: s.On, Why: s.Why, Taken: int64(s.Stats.Taken), Returned: int64(s.Stats.Returned), Own: int64(s.Stats.Own),
		Odd: int64(s.Stats.Odd), Dropped: int64(s.Stats.Unknown + s.Stats.Failed),
	}
	if s.Resting {
		v.Why = "network.tagged is pass"
	}
	return v
}

// problems are those of status. That this machine's kernel cannot do it at all is none: it is in the view.
func (t *tagged) problems() (found []webadmin.Problem) {
	if t.tags == nil {
		return nil
	}
	s := t.tags.State()
	if s.Why != "" {
		found = append(found, webadmin.Problem{
			What:    "Mail with VLAN tags or in PPPoE is not governed: " + s.Why + ".",
			Meaning: "It passes unjudged.",
			Do:      "It is tried again by itself. Where such mail is to pass, set network.tagged to pass.",
		})
	}
	if n := s.Stats.Unknown + s.Stats.Failed; n > 0 {
		found = append(found, webadmin.Problem{
			What:    fmt.Sprintf("%d packets of mail with VLAN tags or in PPPoE were dropped since the start, since their tags could not be put on again.", n),
			Meaning: "Their senders sent them again.",
			Do:      "If it goes on, the machine has too little memory for the lines that it governs: network.tagged: pass leaves such mail alone.",
		})
	}
	return found
}
