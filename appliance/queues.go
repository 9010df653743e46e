package appliance

import (
	"cmp"
	"os"
	"runtime"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/ruleset"
)

func (a *Appliance) queueConfig(cfg *config.Config) nfq.Config {
	return nfq.Config{
		First: cfg.Queue.First, Count: queueCount(cfg), Reader: cfg.Queue.Reader, Length: cfg.Queue.Length,
		FailOpen: cfg.Network.FailOpen(), Marks: ruleset.Marks{Mask: uint32(cfg.Network.MarkMask)}, Ports: cfg.Network.Ports(),
		Lane: a.lane.forQueues(), LaneBroken: a.laneBroken, WayBack: a.wayBack(), Policy: a.judge, Log: a.log, Now: a.now,
		MaxFlows: a.size.followed, Copies: a.kernel.Copies, MaxLeases: a.size.leases, SocketBuffer: a.size.socket,
	}
}

// processors gives the runtime one processor for each worker beside those that it
// has, unless the operator says how many: one of them is then always free to wait for
// packets, even while all others compute. Otherwise a packet that comes while a list is
// read or rubbish is collected waits for ten milliseconds and more.
func processors(workers int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.SetDefaultGOMAXPROCS() // by the CPUs and the cgroup's quota; also where this was called before
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + workers)
	}
}

// queueCount is how many queues a configuration asks for: 0 is one per CPU.
func queueCount(cfg *config.Config) uint16 {
	return cmp.Or(cfg.Queue.Count, uint16(min(runtime.NumCPU(), 256)))
}
