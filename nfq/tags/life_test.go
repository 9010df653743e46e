package tags

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/florianl/go-nfqueue/v2"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/mdlayher/netlink"
	rtnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// say has the machine itself send a frame over the bridge.
func (r *rig) say(b []byte) {
	r.t.Helper()
	r.space.Must(func() error {
		br, err := net.InterfaceByName("br0")
		if err != nil {
			return err
		}
		s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		return unix.Sendto(s, b, 0, &unix.SockaddrLinklayer{Ifindex: br.Index})
	})
}

// turned is a packet the other way: what a server says to a client.
func turned(ip []byte) []byte {
	b := bytes.Clone(ip)
	if b[0]>>4 == 6 {
		copy(b[8:], outside6)
		copy(b[24:], inside6)
		copy(b[40:], tcp(25, 40000, 0)[:4])
		return b
	}
	copy(b[12:], outside4)
	copy(b[16:], inside4)
	copy(b[20:], tcp(25, 40000, 0)[:4])
	return b
}

// What the machine says to a client in the server's name gets the tags that the client had last; none, if it had none.
func TestTheBoxSpeaksWithTheTagsOfTheClient(t *testing.T) {
	r := newRig(t, 1024)
	r.look()
	own := uint64(0)
	for _, ip := range [][]byte{mail4(20), mail6(20)} {
		for _, s := range append(shapes(), shape{}) {
			r.crosses(s.String(), frame(s, ip, false), false)
			r.say(frame(shape{}, turned(ip), true))
			if got, want := r.lan.next(2*time.Second), frame(s, turned(ip), true); !bytes.Equal(got, want) {
				t.Errorf("%v: the box says\n%x, not\n%x", s, got, want)
			}
			if len(s.tags) > 0 || s.session != 0 {
				own++
			}
		}
	}
	if s := r.tags.State().Stats; s.Own != own || s.Failed+s.Unknown != 0 {
		t.Errorf("%d frames: %+v", own, s)
	}
}

// Who sends with addresses of another line does not get that one's mail: every packet leaves with the tags that it came with.
func TestTheSameAddressesWithOtherTags(t *testing.T) {
	r := newRig(t, 1024)
	r.look()
	one, two := shape{[]uint32{0x81000007}, 0}, shape{[]uint32{0x81000008}, 5}
	for range 20 {
		r.lan.send(frame(one, mail4(30), false))
		r.lan.send(frame(two, mail4(30), false))
		for _, s := range []shape{one, two} {
			if got, want := r.wan.next(2*time.Second), frame(s, mail4(30), false); !bytes.Equal(got, want) {
				t.Fatalf("%v: %x, not %x", s, got, want)
			}
		}
	}
}

// between has another program on lan0 that sets the priority of packets behind off, and what it takes for their number beside it unless that is 0.
func (r *rig) between(priority uint32) (undo func()) {
	r.t.Helper()
	const next = -1
	const atPriority = 32 // of struct __sk_buff, linux/bpf.h
	var l link.Link
	r.space.Must(func() error {
		in, err := net.InterfaceByName("lan0")
		if err != nil {
			return err
		}
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
			asm.LoadImm(asm.R2, int64(priority), asm.DWord), asm.StoreMem(asm.R1, atPriority, asm.R2, asm.Word), asm.Mov.Imm(asm.R0, next), asm.Return(),
		}})
		if err != nil {
			return err
		}
		defer p.Close()
		l, err = link.AttachTCX(link.TCXOptions{Interface: in.Index, Program: p, Attach: ebpf.AttachTCXIngress, Anchor: link.Tail()})
		return err
	})
	return func() { l.Close() }
}

// Somebody who sets priorities on the way, as nftables can, does not take the tags away.
func TestAPriorityThatIsSetBetween(t *testing.T) {
	r := newRig(t, 1024)
	r.look()
	defer r.between(7)()
	for _, s := range shapes() {
		for _, ip := range [][]byte{mail4(20), mail6(20)} {
			r.crosses(s.String(), frame(s, ip, false), false)
		}
	}
	if s := r.tags.State().Stats; s.Failed+s.Unknown+s.Odd != 0 || s.Taken != s.Returned || s.Taken == 0 {
		t.Errorf("%+v", s)
	}
}

// A packet whose number means something else by now is dropped, and not sent with the tags of another, nor without any.
func TestAPacketWhoseTagsNobodyKnowsIsDropped(t *testing.T) {
	r := newRig(t, 1024)
	r.look()
	s := shape{[]uint32{0x81000007}, 0}
	r.crosses("before", frame(s, mail4(20), false), false)
	undo := r.between(0x6d000000 | 99<<16 | 1) // the number of s, with another use
	r.lan.send(frame(s, mail4(20), false))
	if got := r.wan.next(300 * time.Millisecond); got != nil {
		t.Errorf("it leaves as %x", got)
	}
	undo()
	r.crosses("after", frame(s, mail4(20), false), false)
	if got := r.tags.State().Stats; got.Unknown != 1 || got.Taken != 3 || got.Returned != 2 {
		t.Errorf("%+v", got)
	}
}

// Who makes up more tags than there are numbers sends past the program, not past everybody else's tags.
func TestMoreTagsThanNumbers(t *testing.T) {
	r := newRig(t, 16)
	r.look()
	for vlan := range uint32(200) {
		s := shape{[]uint32{0x81000001 + vlan}, 0}
		r.crosses(s.String(), frame(s, mail4(20), false), false)
	}
	if s := r.tags.State().Stats; s.Odd == 0 || s.Taken == 0 || s.Taken+s.Odd != 200 || s.Failed+s.Unknown != 0 {
		t.Errorf("%+v", s)
	}
}

// More pairs than the table holds: all leave as they came.
func TestMorePairsThanTheTableHolds(t *testing.T) {
	r := newRig(t, 16)
	r.look()
	s := shape{[]uint32{0x81000007}, 3}
	for n := range 500 {
		ip := mail6(20)
		binary.BigEndian.PutUint32(ip[20:], uint32(n)) // of the source
		r.crosses(fmt.Sprint(n), frame(s, ip, false), false)
	}
	if s := r.tags.State().Stats; s.Taken != 500 || s.Returned != 500 {
		t.Errorf("%+v", s)
	}
}

// What is for the machine itself, at the bridge's or a port's address, keeps its tag.
func TestWhatIsForTheMachineKeepsItsTag(t *testing.T) {
	r := newRig(t, 1024)
	r.look()
	var own net.HardwareAddr
	r.space.Must(func() error {
		br, err := net.InterfaceByName("br0")
		if err == nil {
			own = br.HardwareAddr
		}
		return err
	})
	b := frame(shape{[]uint32{0x81000007}, 0}, mail4(20), false)
	copy(b, own)
	r.lan.send(b)
	r.crosses("another", frame(shape{[]uint32{0x81000007}, 0}, mail4(21), false), false) // the first is through by then
	if s := r.tags.State().Stats; s.Taken != 1 {
		t.Errorf("%+v", s)
	}
}

// A VLAN of a port that has an interface of its own is not taken from it.
func TestAVLANWithAnInterfaceOfItsOwn(t *testing.T) {
	r := newRig(t, 1024)
	r.look()
	lan := 0
	r.space.Must(func() error {
		l, err := net.InterfaceByName("lan0")
		if err == nil {
			lan = l.Index
		}
		return err
	})
	here := newLocal()
	here.elsewhere[programVlanOf{Port: uint32(lan), Proto: 0x0081, Vid: 7}] = true // this kernel has no such interfaces; what makes the set is read in find
	if err := r.tags.tell(here); err != nil {
		t.Fatal(err)
	}
	for tci, taken := range map[uint32]uint64{0x81000007: 0, 0x8100e007: 0, 0x81000008: 1} {
		before := r.tags.State().Stats.Taken
		s := shape{[]uint32{tci}, 0}
		r.crosses(s.String(), frame(s, mail4(20), false), false)
		if got := r.tags.State().Stats.Taken - before; got != taken {
			t.Errorf("%v: %d", s, got)
		}
	}
	if err := r.tags.tell(newLocal()); err != nil {
		t.Fatal(err)
	}
	s := shape{[]uint32{0x81000007}, 0}
	r.crosses("the interface is gone", frame(s, mail4(20), false), false)
	if got := r.tags.State().Stats.Taken; got != 2 {
		t.Errorf("taken %d", got)
	}
}

// At a port that is not governed nothing is taken apart; what comes from a governed one leaves by it as it was.
func TestAPortThatIsNotGoverned(t *testing.T) {
	r := newRig(t, 1024)
	r.space.Do(func() { r.tags.Look("br0", []string{"lan0"}) })
	if s := r.tags.State(); !s.On || s.Why != "" {
		t.Fatalf("%+v", s)
	}
	s := shape{[]uint32{0x81000007}, 4}
	r.crosses("outwards", frame(s, mail4(20), false), false)
	r.crosses("inwards", frame(s, turned(mail4(20)), true), true)
	if got := r.tags.State().Stats; got.Taken != 1 || got.Returned != 1 {
		t.Errorf("%+v", got)
	}
}

// Where nothing is taken off, State says why, and frames pass.
func TestWhereTagsAreNotTakenOff(t *testing.T) {
	r := newRig(t, 1024)
	s := shape{[]uint32{0x81000007}, 0}
	for _, c := range []struct{ bridge, why string }{{"", "there is no bridge"}, {"br9", "bridge br9 is not there"}, {"lan0", "lan0 is no bridge but a tuntap"}} {
		r.space.Do(func() { r.tags.Look(c.bridge, []string{"lan0", "wan0"}) })
		if got := r.tags.State(); got.On || got.Why != c.why || got.Resting {
			t.Errorf("%q: %+v", c.bridge, got)
		}
		r.crosses(c.why, frame(s, mail4(20), false), false)
	}
	r.look()
	r.crosses("governed", frame(s, mail4(20), false), false)
	r.tags.Rest()
	if got := r.tags.State(); got.On || got.Why != "" || !got.Resting {
		t.Errorf("at rest: %+v", got)
	}
	r.crosses("at rest", frame(s, mail4(20), false), false)
	r.look()
	if got := r.tags.State(); got.Resting || got.Stats.Taken != 1 {
		t.Errorf("%+v", got)
	}
	if err := r.tags.Close(); err != nil {
		t.Error(err)
	}
	r.tags.Look("br0", nil)
	r.tags.Rest()
	if got := r.tags.State(); got != (State{}) {
		t.Errorf("closed: %+v", got)
	}
	r.crosses("closed", frame(s, mail4(20), false), false)
}

// stream sends tagged mail until stop, and counts what arrives otherwise than as it was sent.
func (r *rig) stream(s shape, during func()) (arrived, otherwise int) {
	r.t.Helper()
	b := frame(s, mail4(40), false)
	var done atomic.Bool
	go func() {
		during()
		done.Store(true)
	}()
	for !done.Load() {
		r.lan.send(b)
		if got := r.wan.next(50 * time.Millisecond); got != nil {
			if arrived++; !bytes.Equal(got, b) {
				otherwise++
			}
		}
	}
	for got := r.wan.next(100 * time.Millisecond); got != nil; got = r.wan.next(100 * time.Millisecond) {
		if arrived++; !bytes.Equal(got, b) {
			otherwise++
		}
	}
	return arrived, otherwise
}

// While the program comes and goes no packet leaves without its tags.
func TestComingAndGoing(t *testing.T) {
	r := newRig(t, 1024)
	s := shape{[]uint32{0x81000007}, 3}
	arrived, otherwise := r.stream(s, func() {
		for range 40 {
			r.space.Do(func() { r.tags.Look("br0", []string{"lan0", "wan0"}) })
			time.Sleep(5 * time.Millisecond)
			r.tags.Rest()
			r.space.Do(func() { r.tags.Look("br0", []string{"wan0"}) })
			time.Sleep(time.Millisecond)
		}
	})
	if otherwise != 0 || arrived < 40 || r.tags.State().Stats.Taken == 0 {
		t.Errorf("of %d, %d are not as they were sent; %+v", arrived, otherwise, r.tags.State().Stats)
	}
}

// The test's own binary as a process that governs and is killed.
func TestMain(m *testing.M) {
	if os.Getenv("TAGS_CHILD") != "" {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func child() error {
	t, err := Open(Options{Ports: []uint16{25}, Pairs: 64})
	if err != nil {
		return err
	}
	t.Look("br0", []string{"lan0", "wan0"})
	if s := t.State(); !s.On {
		return errors.New(s.Why)
	}
	fmt.Println("on")
	select {}
}

// Of a process that is killed the kernel takes the programs away; no packet leaves without its tags for that.
func TestAProcessThatIsKilled(t *testing.T) {
	r := bareRig(t)
	s := shape{[]uint32{0x81000007}, 3}
	var bad error
	arrived, otherwise := r.stream(s, func() {
		for range 20 {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), "TAGS_CHILD=1")
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err == nil {
				r.space.Do(func() { err = cmd.Start() })
			}
			if err == nil {
				_, err = out.Read(make([]byte, 3))
				time.Sleep(10 * time.Millisecond)
				err = errors.Join(err, cmd.Process.Kill())
				cmd.Wait()
			}
			bad = errors.Join(bad, err)
		}
	})
	if bad != nil || otherwise != 0 || arrived < 100 {
		t.Errorf("of %d, %d are not as they were sent; %v", arrived, otherwise, bad)
	}
}

// hold has what crosses the bridge held in a queue, and lets all of it go on when told.
func (r *rig) hold() (letGo func() int) {
	r.t.Helper()
	var q *nfqueue.Nfqueue
	held := make(chan uint32, 64)
	r.space.Must(func() error {
		err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0)
		if err != nil {
			return err
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Name: "held", Family: nftables.TableFamilyINet})
		chain := c.AddChain(&nftables.Chain{Name: "f", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
		info := xt.Unknown{7, 0, 1, 0, 0, 0, 0, 0} // struct xt_NFQ_info_v3: number 7, one queue
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}}})
		if err := c.Flush(); err != nil {
			return fmt.Errorf("a rule for a queue: %w", err)
		}
		q, err = nfqueue.Open(&nfqueue.Config{NfQueue: 7, MaxPacketLen: 256, MaxQueueLen: 64, Copymode: nfqueue.NfQnlCopyMeta, AfFamily: unix.AF_INET, WriteTimeout: time.Second})
		if err != nil {
			return err
		}
		err = q.SetOption(netlink.NoENOBUFS, true)
		return errors.Join(err, q.RegisterWithErrorFunc(r.t.Context(), func(a nfqueue.Attribute) int { held <- *a.PacketID; return 0 }, func(error) int { return 0 }))
	})
	return func() (n int) {
		defer q.Close()
		for {
			select {
			case id := <-held:
				q.SetVerdict(id, nfqueue.NfAccept)
				n++
			case <-time.After(300 * time.Millisecond):
				return n
			}
		}
	}
}

// A packet that is held leaves with its tags, whatever happened meanwhile: mail with tags is governed no more, the port is not, or its line has other tags by now.
func TestAPacketThatIsHeldKeepsItsTags(t *testing.T) {
	s := shape{[]uint32{0x88a80064, 0x81000007}, 5}
	other := shape{[]uint32{0x81000009}, 0}
	for what, meanwhile := range map[string]func(r *rig){
		"nothing":                  func(*rig) {},
		"tags are let pass":        func(r *rig) { r.tags.Rest() },
		"the bridge is not found":  func(r *rig) { r.space.Do(func() { r.tags.Look("br9", nil) }) },
		"a port governed no more":  func(r *rig) { r.space.Do(func() { r.tags.Look("br0", []string{"wan0"}) }) },
		"the line has other tags":  func(r *rig) { r.lan.send(frame(other, ip4(6, 0, 0, tcp(40001, 25, 10)), false)) },
		"an interface comes along": func(r *rig) { r.space.Must(func() error { return addVeth() }); r.look() },
	} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, 1024)
			r.look()
			letGo := r.hold()
			b := frame(s, mail4(60), false)
			r.lan.send(b)
			if got := r.wan.next(100 * time.Millisecond); got != nil {
				t.Fatalf("it is not held: %x", got)
			}
			meanwhile(r)
			if n := letGo(); n == 0 {
				t.Fatal("nothing was held")
			}
			if got := r.wan.next(2 * time.Second); !bytes.Equal(got, b) {
				t.Errorf("held\n%x, and there comes\n%x", b, got)
			}
		})
	}
}

// addVeth puts one more port on the bridge.
func addVeth() error {
	v := &rtnetlink.Veth{LinkAttrs: rtnetlink.LinkAttrs{Name: "late0"}, PeerName: "late1"}
	if err := rtnetlink.LinkAdd(v); err != nil {
		return err
	}
	br, err := rtnetlink.LinkByName("br0")
	if err != nil {
		return err
	}
	return errors.Join(rtnetlink.LinkSetMaster(v, br), rtnetlink.LinkSetUp(v))
}
