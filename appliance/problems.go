package appliance

import (
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/cabling"
	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/sources"
	"github.com/mailweir/mailweir/appliance/spool"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// problems are faults that no other figure of status shows.
func (a *Appliance) problems() []webadmin.Problem {
	found := []webadmin.Problem{}
	if a.bridge != nil {
		found = append(found, a.bridgeProblems()...)
	} else {
		found = append(found, forwardingProblems()...)
	}
	n := a.cfg.Load().Network
	missing := a.missingPorts()
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		p := webadmin.Problem{
			What:    cabling.MissingText(name, missing[name]) + ".",
			Meaning: "The other ports go on as they are; what goes by this one does not pass.",
			Do:      "Look at the card and its slot, and start the box again. A new card in its place becomes the same port. After a factory reset the ports are numbered anew.",
		}
		if !n.Has(name) {
			p.Meaning = "The other ports go on as they are, and mail is not affected."
		}
		found = append(found, p)
	}
	for _, name := range slices.Concat(n.SubscriberInterfaces, n.UpstreamInterfaces) {
		if _, told := missing[name]; told {
			continue
		}
		if _, err := net.InterfaceByName(name); err != nil {
			found = append(found, webadmin.Problem{
				What:    "There is no interface " + name + ".",
				Meaning: "Mail that comes another way passes unjudged.",
				Do:      "Put the right names into network.subscriber_interfaces and upstream_interfaces, or wait for it to come up.",
			})
		}
	}
	if how, why := a.lane.status(); a.lane.lane != nil && how == "" && why != "" {
		found = append(found, webadmin.Problem{
			What:    "The fast lane is not in use: " + why + ".",
			Meaning: "Every session waits for its verdict: slower, and otherwise the same.",
			Do:      "It is tried again by itself. Look for whoever changes interfaces or eBPF programs on this machine.",
		})
	}
	if a.floods != nil {
		if p := a.floods.current.Load(); p != nil {
			found = append(found, *p)
		}
	}
	if _, err := a.chain.Trouble(); err != nil {
		found = append(found, webadmin.Problem{
			What:    "The number of the last record cannot be kept: " + err.Error() + ".",
			Meaning: "Mail is not affected. After a crash numbers of records may occur twice.",
			Do:      "Check that the data directory is neither full nor read-only.",
		})
	}
	if _, unknown := a.journal.Holds(); unknown != "" {
		found = append(found, webadmin.Problem{
			What:    "It is not known which cases are held: " + unknown + ".",
			Meaning: "Nothing of any case is deleted until it is, whatever its age; mail is not affected.",
			Do: a.byPlace("Say in "+journal.HoldsPath(a.opt.DataDir)+" which cases are held; it is read within a minute. [] says that none is, and what belonged to held cases goes.",
				"Look at the disk. Nobody edits that file without taking the disk out; a factory reset ends all holds, with all else."),
		})
	}
	f := a.syslog.spool.Stat()
	if f.Hangs > 0 {
		found = append(found, webadmin.Problem{
			What:    fmt.Sprintf("The disk has not answered for %v.", f.Hangs.Round(time.Second)),
			Meaning: fmt.Sprintf("Mail is not affected. %d records wait in memory, %d at most; collectors that are there get them. After a crash numbers of records may occur twice.", f.Waiting, spool.MemoryRecords),
			Do:      a.byPlace("Look at the disk and its controller (dmesg).", "Look at the disk, or take another one.") + " A HEALTH record says how long it lasted when it answers again.",
		})
	}
	if f.Aside > 0 {
		found = append(found, webadmin.Problem{
			What:    fmt.Sprintf("%d files of the spool could not be read and are set aside (*.unreadable, %d bytes).", f.Aside, f.AsideBytes),
			Meaning: "A HEALTH record says which records collectors lack for it. The files go when the spool needs the room, or their retention is over.",
			Do:      a.byPlace("Check the disk; remove them from DATA/spool when nobody wants to look at them.", "Check the disk.") + " A restart counts anew.",
		})
	}
	if lost := a.writer.Lost(); lost > 0 && a.writer.Waiting() > recordQueue/2 {
		found = append(found, webadmin.Problem{
			What:    "More happens than can be recorded.",
			Meaning: "Mail is judged as always. Some records are lost; a HEALTH record will say how many.",
			Do:      "Look for a flood: the page Subscribers shows who is at the top" + a.byPlace(", and so does mailweir subscribers.", "."),
		})
	}
	if keys := a.waits(); len(keys) > 0 {
		plans := a.cfg.Load().PlanNames()
		var named []string
		for _, key := range keys[:min(len(keys), 8)] {
			named = append(named, fmt.Sprintf("%s (%s)", webadmin.KeyText(key, plans), key))
		}
		found = append(found, webadmin.Problem{
			What:    "The configuration waits for a restart: " + strings.Join(named, ", ") + ".",
			Meaning: "Until then these are as they were; everything else is in force.",
			Do:      "Restart mailweir; under Settings, Set-up there is a button.",
		})
	}
	if why := a.listRefused.Load(); why != nil {
		found = append(found, webadmin.Problem{
			What:    "The list of subscribers was refused: " + *why + ".",
			Meaning: "The list before it is in force; mail is judged by that.",
			Do:      "Bring one that is right (Set-up, Subscribers): it is looked at line by line" + a.byPlace("; or mend the file, of which mailweir check names what is wrong.", "."),
		})
	}
	for _, f := range a.lines.files() {
		switch {
		case f.Problem != "":
			found = append(found, webadmin.Problem{
				What:    "The lease file " + f.Path + " is not followed: " + f.Problem + ".",
				Meaning: "The leases it had are still believed until they end; new ones are not known.",
				Do:      "Look at the DHCP server and at identity.lease_files.",
			})
		case f.BadLines > 0:
			found = append(found, webadmin.Problem{
				What:    fmt.Sprintf("%d lines of a lease file are not understood, the first at %s.", f.BadLines, f.FirstBad),
				Meaning: "Whoever has those addresses is counted as unmapped; all other lines count.",
				Do:      "Check that identity.lease_files names the right format.",
			})
		}
	}
	for _, t := range a.notices.Status() {
		if !t.Up {
			found = append(found, webadmin.Problem{
				What:    "Notices do not reach " + t.Name + " (" + t.Where + ").",
				Meaning: fmt.Sprintf("Mail is not affected; %d wait on the disk and are tried again.", t.Waiting),
				Do:      "Check it, and the way to it: " + t.LastError + ".",
				Since:   webadmin.At(t.Since),
			})
		}
	}
	if p := a.certWatch.problem.Load(); p != nil {
		found = append(found, *p)
	}
	found = append(found, updateProblem(a.opt.DataDir)...)
	found = append(found, a.lines.unlisted()...)
	found = append(found, a.health.short()...)
	found = append(found, shortHistory(a.who.Stats(), a.now())...)
	found = append(found, a.observer.problems()...)
	for _, c := range a.crowds() {
		found = append(found, webadmin.Problem{
			What:    address(c.Prefix) + " looks like many senders behind one address: " + c.Crowd + ".",
			Meaning: "They share one budget, so one of them can have the mail of all others deferred.",
			Do:      "If it is a carrier's NAT, put the box on its inner side; if it is one customer's office, give it a plan that fits.",
		})
	}
	return found
}

// byPlace is what there is to do on a machine with a shell, or, on the image, without one.
func (a *Appliance) byPlace(shell, image string) string {
	if a.opt.Image != nil {
		return image
	}
	return shell
}

// forwardingProblems are those of a box that ought to route.
func forwardingProblems() (found []webadmin.Problem) {
	for _, f := range []struct{ family, key string }{
		{"IPv4", "net/ipv4/ip_forward"},
		{"IPv6", "net/ipv6/conf/all/forwarding"},
	} {
		value, err := os.ReadFile("/proc/sys/" + f.key)
		if err == nil && strings.TrimSpace(string(value)) == "0" {
			found = append(found, webadmin.Problem{
				What:    f.family + " forwarding is off on this machine.",
				Meaning: "No " + f.family + " mail passes through the box.",
				Do:      "Set " + strings.ReplaceAll(f.key, "/", ".") + "=1 with sysctl, and in /etc/sysctl.d to keep it; or ignore this where there is no " + f.family + ".",
			})
		}
	}
	return found
}

// crowds is what lookAtCrowds found last.
func (a *Appliance) crowds() []sources.Source {
	if found := a.crowd.Load(); found != nil {
		return *found
	}
	return nil
}

// maxCrowds is how many are told by name.
const maxCrowds = 20

// lookAtCrowds finds addresses that look like many senders, and says so once of each
// as long as it does.
func (a *Appliance) lookAtCrowds() {
	found := a.book.Crowds(a.now())
	if len(found) > maxCrowds {
		found = found[:maxCrowds]
	}
	for _, c := range found {
		a.health.begin(records.HealthFacts{What: "many_behind_one", Target: address(c.Prefix), Detail: c.Crowd})
	}
	for _, c := range a.crowds() {
		same := func(d sources.Source) bool { return d.Prefix == c.Prefix && d.Subscriber == c.Subscriber }
		if !slices.ContainsFunc(found, same) {
			a.health.endOf("many_behind_one", address(c.Prefix))
		}
	}
	a.crowd.Store(&found)
}
