package appliance

import (
	"context"
	"encoding/base64"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// place is where somebody stands in the list of subscribers.
type place struct {
	stage    governor.Stage
	full     float64 // ratio of the fullest budget; one that a float32 has, as the roll keeps it
	networks uint16  // contacted, as far as a budget says
	since    int64   // of the stage, Unix nanoseconds; 0 in observe
	name     string  // the beginning of it, where the order is by name
	tie      uint64  // comes before the id among equals, of a query with Tie
	id       string
}

// standing is the place of one above observe, or of any other by itself.
func standing(b governor.Brief) place {
	p := place{stage: b.Stage, full: float64(float32(b.Fullest)), networks: clamped(b.Networks), id: b.Subscriber}
	if !b.Since.IsZero() {
		p.since = b.Since.UnixNano()
	}
	return p
}

func clamped(networks int) uint16 { return uint16(min(networks, math.MaxUint16)) }

// cursor writes p for a client to send back; placeOf reads it.
func (p place) cursor() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join([]string{p.stage.String(), strconv.FormatFloat(p.full, 'g', -1, 64), strconv.Itoa(int(p.networks)), strconv.FormatInt(p.since, 10), url.PathEscape(p.name), p.id}, " ")))
}

// placeOf is the place that a cursor names; false for one that is none of ours, which begins anew.
func placeOf(cursor string) (place, bool) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	part := strings.SplitN(string(text), " ", 6)
	if err != nil || len(part) != 6 {
		return place{}, false
	}
	p := place{id: part[5]}
	var ok bool
	if p.stage, ok = governor.ParseStage(part[0]); !ok {
		return place{}, false
	}
	if p.full, err = strconv.ParseFloat(part[1], 64); err != nil || math.IsNaN(p.full) || p.full < 0 {
		return place{}, false
	}
	networks, err := strconv.ParseUint(part[2], 10, 16)
	if err != nil {
		return place{}, false
	}
	p.networks = uint16(networks)
	if p.since, err = strconv.ParseInt(part[3], 10, 64); err != nil {
		return place{}, false
	}
	p.name, err = url.PathUnescape(part[4])
	return p, err == nil
}

// roll is how full everybody's budgets are who is in stage observe: 6 bytes for a line of the list. Nobody has to act on
// them, so it may be some seconds old in a large box; who is above observe is looked at when somebody asks.
type roll struct {
	table    *subscriber.Table
	full     []float32 // by line of table
	networks []uint16  // the same
	others   []place   // who is not in table, by id
}

const (
	rollKept = time.Second     // a roll is good for so long at least,
	rollPart = 10              // ten times as long as it takes to make,
	rollMost = 5 * time.Minute // and made anew after so long even if nobody asks, so that the first who does sees no old order
)

func (a *Appliance) rollMaker() maker[*roll] {
	return maker[*roll]{now: a.now, find: a.makeRoll, fits: func(r *roll) bool { return r.table == a.who.Table() }, part: rollPart, least: rollKept, most: rollMost}
}

func (a *Appliance) makeRoll(ctx context.Context, now time.Time) *roll {
	table := a.who.Table()
	r := &roll{table: table, full: make([]float32, table.Len()), networks: make([]uint16, table.Len())}
	n := 0
	a.gov.Each(now, func(b governor.Brief) bool {
		n++
		letOthers(n)
		if row, listed := table.Row(b.Subscriber); listed {
			r.full[row], r.networks[row] = float32(b.Fullest), clamped(b.Networks)
		} else {
			p := standing(b)
			p.stage, p.since = governor.StageObserve, 0
			r.others = append(r.others, p)
		}
		return n&255 != 0 || ctx.Err() == nil
	})
	slices.SortFunc(r.others, func(p, q place) int { return strings.Compare(p.id, q.id) })
	return r
}

// best keeps the first so many of what it is given, by an order.
type best[T any] struct {
	most    int
	compare func(a, b T) int
	heap    []T // the last one of them on top
}

func (b *best[T]) whole() bool { return len(b.heap) == b.most }

func (b *best[T]) add(v T) {
	if !b.whole() {
		b.heap = append(b.heap, v)
		for i := len(b.heap) - 1; i > 0; {
			up := (i - 1) / 2
			if b.compare(b.heap[i], b.heap[up]) <= 0 {
				return
			}
			b.heap[i], b.heap[up] = b.heap[up], b.heap[i]
			i = up
		}
		return
	}
	if b.compare(v, b.heap[0]) >= 0 {
		return
	}
	i := 0
	for {
		down := 2*i + 1
		if down >= len(b.heap) {
			break
		}
		if other := down + 1; other < len(b.heap) && b.compare(b.heap[other], b.heap[down]) > 0 {
			down = other
		}
		if b.compare(b.heap[down], v) <= 0 {
			break
		}
		b.heap[i] = b.heap[down]
		i = down
	}
	b.heap[i] = v
}

// sorted is what was kept, in order; nothing is added any more.
func (b *best[T]) sorted() []T {
	slices.SortFunc(b.heap, b.compare)
	return b.heap
}
