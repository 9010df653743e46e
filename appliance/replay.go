package appliance

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/governor/subscriber"
	"github.com/mailweir/mailweir/nfq/capture"
)

// ReplayOptions says what to replay.
type ReplayOptions struct {
	ConfigFile string
	Against    string   // another configuration; "": none
	Captures   []string // pcap or pcapng files, "-" is the standard input
	Log        *slog.Logger

	// Loaded is told of each configuration before anything is read; nil: nobody is.
	Loaded func(*config.Config, *subscriber.Table)
	// Session is told of every session under ConfigFile as it ends; nil: nobody is.
	Session func(*ReplayedSession)
}

// ReplayReport is what came of it.
type ReplayReport struct {
	Capture     capture.Stats
	First, Last time.Time // of the packets
	Damage      error     // what was wrong with the captures: what came before it was replayed
	Run         ReplayRun
	Against     *ReplayRun // nil: there was no other configuration
}

// Replay shows sessions of captured packets to the tracker and the governor as the running box has them: same flows and
// time-outs, same judge. The time is the capture's. Nothing is written, and no network is used.
//
// What the capture shows did happen: a session that would have been deferred or cut is followed to its end all the same,
// but is not charged, as it would not have been. What its sender would have done instead, such as trying again, nobody
// can know.
func Replay(ctx context.Context, opt ReplayOptions) (*ReplayReport, error) {
	var runs []*rehearsal
	if err := configsOf([]string{opt.ConfigFile, opt.Against}, loadSubscribers, func(cfg *config.Config, table *subscriber.Table) error {
		if opt.Loaded != nil {
			opt.Loaded(cfg, table)
		}
		r, err := rehearse(cfg, table, opt.Log)
		runs = append(runs, r)
		return err
	}); err != nil {
		return nil, err
	}
	runs[0].tell = opt.Session
	packets, err := capture.Open(opt.Captures...)
	if err != nil {
		return nil, err
	}
	defer packets.Close()

	report := &ReplayReport{}
	var p capture.Packet
	for n := uint64(0); ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := packets.Next(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if n == 0 || p.Time.Before(report.First) {
			report.First = p.Time
		}
		if p.Time.After(report.Last) {
			report.Last = p.Time
		}
		for _, r := range runs {
			r.packet(&p)
		}
	}
	report.Capture, report.Damage = packets.Stats(), packets.Damage()
	report.Run = runs[0].finish()
	if len(runs) > 1 {
		against := runs[1].finish()
		report.Against = &against
	}
	return report, nil
}
