package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/cabling"
	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/update"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// Image is what a box can do that was started from mailweir's own image: its slots, and what process 1 does for whoever asks.
type Image struct {
	Machine func() (*update.Box, error) // as it is now
	Links   func() []string             // ports that have a link now
	Restart func() error                // the whole box, after everything has ended in order
	Erase   func() error                // the same, and everything is erased at the start: a factory reset
	Shape   func(config.Network) error  // has the ports be the bridge or the router that a configuration says; nil: nobody can

	Kept  func() (*config.Network, error) // the shape that was confirmed last; nil: another one is not tried, but in force at once
	Keep  func(config.Network) error      // confirms a shape: the next start begins with it
	Ports cabling.Dir                     // what process 1 knows of the ports; "": nothing

	Fits func(config.Network) config.Problems // why its ports cannot be so, without a file or lines; nil: who can says so by Shape only
}

// FromImage tells whether this is such a box.
func (s *source) FromImage() bool { return s.a.opt.Image != nil }

// Firmware is what runs and what is in the slots.
func (s *source) Firmware() webadmin.Firmware {
	var v webadmin.Firmware
	fault := func(err error) webadmin.Firmware {
		v.Fault = err.Error()
		return v
	}
	box, err := s.a.opt.Image.Machine()
	if err != nil {
		v.Running.Version = s.a.opt.Version
		return fault(err)
	}
	v.Running, v.Board, v.Keys = webadmin.Release{Version: box.About.Version, Build: box.About.Build}, box.About.Board, len(box.About.Keys)
	last, err := update.Load(s.a.opt.DataDir)
	if err != nil {
		return fault(err)
	}
	if last != nil {
		o := outcomeOf(*last)
		v.Last = &o
	}
	slots, err := box.Slots()
	if err != nil {
		return fault(err)
	}
	for _, one := range slots {
		v.Slots = append(v.Slots, webadmin.Slot{Name: one.Name, Holds: webadmin.Release{Version: one.About.Version, Build: one.About.Build}, Fault: one.Fault,
			Runs: one.Runs, Active: one.Active, OnTrial: one.OnTrial, Tries: one.Tries})
	}
	return v
}

func outcomeOf(o update.Outcome) webadmin.UpdateOutcome {
	return webadmin.UpdateOutcome{State: o.State, From: webadmin.Release(o.From), To: webadmin.Release(o.To), Slot: o.Slot, At: webadmin.At(o.Time), Why: o.Why, Text: o.String()}
}

// Install writes an update into the slot that does not run.
func (s *source) Install(from io.Reader, who string) (webadmin.UpdateOutcome, error) {
	image := s.a.opt.Image
	box, err := image.Machine()
	if err != nil {
		return webadmin.UpdateOutcome{}, err
	}
	o, err := box.Install(from, s.a.opt.DataDir, image.Links(), s.a.now)
	switch {
	case o.State == "" && errors.Is(err, unix.EWOULDBLOCK):
		return webadmin.UpdateOutcome{}, webadmin.ErrBusy
	case o.State == "":
		return webadmin.UpdateOutcome{}, err
	}
	s.audit(who, "update", "slot "+o.Slot, runningOf(box), o.String())
	return outcomeOf(o), err
}

func runningOf(box *update.Box) string {
	return fmt.Sprintf("version %s (build %d) runs from slot %s", box.About.Version, box.About.Build, box.Running)
}

// Reboot has process 1 start the box again.
func (s *source) Reboot(who string) error {
	before, after := "", ""
	if box, err := s.a.opt.Image.Machine(); err == nil { // else it is not known, and may be why somebody wants this
		before, after = runningOf(box), "the same again"
		if env, err := box.Env.Read(); err == nil && env.Next != "" {
			after = fmt.Sprintf("slot %s goes on trial", env.Next)
		}
	}
	s.audit(who, "reboot", "box", before, after)
	return s.a.opt.Image.Restart()
}

// FactoryReset tells the collectors, and then has process 1 erase everything.
func (s *source) FactoryReset(ctx context.Context, anyway bool, who string) ([]webadmin.SyslogResult, error) {
	a := s.a
	var last uint64
	if newest := a.recent.Select(1, func(*records.Record) bool { return true }); len(newest) > 0 {
		last = newest[0].Seq
	}
	before := fmt.Sprintf("mode %s, %d subscribers", a.cfg.Load().Mode, a.who.Table().Len())
	after := "erased: settings, subscribers, users, keys, history and records"
	if anyway {
		after += "; also if a collector does not have this record"
	}
	s.audit(who, "factory_reset", a.box, before, after)
	told := s.delivered(ctx, func(r *records.Record) bool { return r.Seq > last && r.Value("what") == "factory_reset" })
	var why error
	for _, t := range told {
		if !t.OK && !anyway {
			why = errors.Join(why, fmt.Errorf("%s does not have the record", t.URL))
		}
	}
	var err error
	if why == nil {
		err = a.opt.Image.Erase()
		why = err
	}
	if why != nil {
		s.audit(who, "factory_reset_stopped", a.box, "", "nothing was erased: "+strings.ReplaceAll(why.Error(), "\n", "; "))
	}
	return told, err
}
