package appliance

import (
	"context"
	"reflect"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/notices"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// noticesShelf is where notices wait in the store.
const noticesShelf = "notices"

// openNotices brings back notices that a former life did not deliver.
func (a *Appliance) openNotices(cfg *config.Config) (err error) {
	a.notices, err = notices.Open(notices.Options{
		Shelf: a.store.Shelf(noticesShelf), Box: a.box, Log: a.log, Now: a.now,
		Name: func(id string) string {
			sub, _ := a.who.Table().ByID(id)
			return sub.Name
		},
		Trouble: func(target, why string) {
			if why == "" {
				a.health.endOf("notices", target)
				return
			}
			a.health.begin(records.HealthFacts{What: "notices", Target: target, Detail: why})
		},
		Lost: func(target string, n int, why string) {
			a.health.tell(records.HealthFacts{What: "notices_lost", Target: target, Count: uint64(n), Detail: why})
		},
	})
	if err != nil { // they are not worth a box that does not start
		a.log.Error("notices of before cannot be read", "err", err)
	}
	setup, err := a.noticesSetup(cfg)
	if err != nil {
		return err
	}
	a.notices.Use(setup)
	return nil
}

// noticesSetup reads what the configuration names for notices. Its error is a config.Problems.
func (a *Appliance) noticesSetup(cfg *config.Config) (notices.Setup, error) {
	setup, warnings, err := notices.Load(cfg, a.box, a.now)
	for _, w := range warnings {
		a.log.Warn(w)
	}
	return setup, err
}

// noticesChanged tells whether another configuration says something else about notices.
func noticesChanged(old, next *config.Config) bool {
	return old.Mode != next.Mode || old.Retention.Records != next.Retention.Records || !reflect.DeepEqual(old.Notices, next.Notices)
}

// NoticesProblems reads what a configuration names for notices, and says what is wrong with it: a config.Problems, or nil.
func NoticesProblems(cfg *config.Config) (warnings []string, err error) {
	_, warnings, err = notices.Load(cfg, "", nil)
	return warnings, err
}

// TestNotices sends a test to every target of notices and tells what each said.
func (s *source) TestNotices(ctx context.Context, who string) []webadmin.NoticeResult {
	s.audit(who, "notices_test", "", "", "")
	results := []webadmin.NoticeResult{}
	for _, r := range s.a.notices.Test(ctx, who) {
		v := webadmin.NoticeResult{Target: r.Target, OK: r.Err == nil, Took: webadmin.Seconds(r.Took)}
		if r.Err != nil {
			v.Error = r.Err.Error()
		}
		results = append(results, v)
	}
	return results
}

// noticeTargets are the targets of notices and how they stand.
func (a *Appliance) noticeTargets() []webadmin.NoticeTarget {
	all := []webadmin.NoticeTarget{}
	for _, t := range a.notices.Status() {
		all = append(all, webadmin.NoticeTarget{Name: t.Name, Kind: t.Kind, Where: t.Where, Up: t.Up, Since: webadmin.At(t.Since), Waiting: int64(t.Waiting),
			Delivered: int64(t.Delivered), Lost: int64(t.Given), LastError: t.LastError})
	}
	return all
}
