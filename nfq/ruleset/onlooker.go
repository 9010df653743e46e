package ruleset

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Onlooker names what else has a hook at which a forwarded packet comes by, and would miss
// packets that are forwarded before netfilter: what Foreign names, and chains at ingress
// and egress of interfaces. "" when nothing does.
func Onlooker() (string, error) {
	chains, err := otherChains()
	if err != nil {
		return "", err
	}
	for _, ch := range chains {
		if hook := onTheWay(ch.Table.Family, *ch.Hooknum); hook != "" {
			return tableName(ch.Table) + " of somebody else has a chain at " + hook, nil
		}
	}
	legacy, err := foreignLegacy()
	if legacy != "" {
		legacy = "rules of somebody else in " + legacy
	}
	return legacy, err
}

// onTheWay is the name of a hook at which forwarded packets come by, or "". Those of arp and
// bridge are not on a routed packet's way, or before us.
func onTheWay(family nftables.TableFamily, hook nftables.ChainHook) string {
	switch family {
	case nftables.TableFamilyNetdev:
		if hook == *nftables.ChainHookIngress {
			return "ingress"
		}
		return "egress"
	case nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyINet:
	default:
		return ""
	}
	switch hook {
	case *nftables.ChainHookPrerouting:
		return "prerouting"
	case *nftables.ChainHookForward:
		return "forward"
	case *nftables.ChainHookPostrouting:
		return "postrouting"
	case inetIngress:
		return "ingress"
	}
	return ""
}

// inetIngress is NF_INET_INGRESS: since Linux 5.10 a chain of inet can be at ingress of an
// interface. Netdev has another number for it.
const inetIngress = 5

// Changes tells when a table or a chain has come or gone.
type Changes struct {
	conn *netlink.Conn
	c    chan struct{}
	done chan struct{}
}

// WatchChanges begins to listen in the calling thread's network namespace.
func WatchChanges() (*Changes, error) {
	const group = 7 // NFNLGRP_NFTABLES
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (group - 1)})
	if err != nil {
		return nil, fmt.Errorf("listen to changes of nftables: %w", err)
	}
	w := &Changes{conn: conn, c: make(chan struct{}, 1), done: make(chan struct{})}
	go w.listen()
	return w, nil
}

// C has a value after a change; many changes may be one.
func (w *Changes) C() <-chan struct{} { return w.c }

// listen ends with Close.
func (w *Changes) listen() {
	defer close(w.done)
	for {
		messages, err := w.conn.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS): // some were lost
			w.tell()
			continue
		case err != nil:
			return
		}
		for _, m := range messages {
			if uint16(m.Header.Type)>>8 != unix.NFNL_SUBSYS_NFTABLES {
				continue
			}
			switch m.Header.Type & 0xff { // elements of our own sets come and go all the time
			case unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE, unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN:
				w.tell()
			}
		}
	}
}

func (w *Changes) tell() {
	select {
	case w.c <- struct{}{}:
	default: // it has not been looked at yet
	}
}

// Close ends listening and waits for its end.
func (w *Changes) Close() error {
	_ = w.conn.SetReadDeadline(time.Unix(1, 0)) // frees a Receive under way
	<-w.done
	return w.conn.Close()
}
