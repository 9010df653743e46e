package store

import (
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
	"pgregory.net/rapid"
)

var wall = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// at is the governor's state when its clock is that far.
func at(clock time.Duration) governor.SavedState {
	return governor.SavedState{Wall: wall.Add(clock), Clock: clock, Cases: uint64(clock)}
}

// some is a subscriber with something in every field.
func some(id string, clock time.Duration) governor.Saved {
	return governor.Saved{
		Subscriber: id, Plan: "residential", Unlisted: true, Mode: governor.ModeEnforce, Stage: governor.StageCut,
		Since: clock + 1, Until: 2, Confirmed: 3, Calm: 4, Ended: 5, Case: "0001Z",
		Cause: governor.Cause{Of: governor.Sessions, Value: 15, Limit: 20, Burst: 5, Window: time.Hour},
		Budgets: []governor.SavedBudget{
			{Budget: governor.Budget{Of: governor.Sessions, Limit: 20, Per: time.Hour, Burst: 5}, WholeAt: 5, CalmAt: 6},
			{Budget: governor.Budget{Of: governor.ConcurrentSessions, Limit: 3, Burst: 3}},
		},
		Destinations: []governor.SavedDestination{{Budget: 1, Network: governor.Network{Bits: 0xc0000200}, At: 7}},
		Retries:      []governor.SavedRetry{{Network: governor.Network{Bits: 77, IPv6: true}, Every: 30 * time.Second, WholeAt: 8, UsedAt: 9}},
		Exemption:    &governor.SavedExemption{Since: 10, Until: 11, Reason: "moves house", By: "admin"},
	}
}

// keep is a copy that outlives the call that it was given to.
func keep(s *governor.Saved) governor.Saved {
	c := *s
	c.Budgets, c.Destinations, c.Retries = slices.Clone(s.Budgets), slices.Clone(s.Destinations), slices.Clone(s.Retries)
	if len(c.Budgets) == 0 {
		c.Budgets = nil
	}
	if len(c.Destinations) == 0 {
		c.Destinations = nil
	}
	if len(c.Retries) == 0 {
		c.Retries = nil
	}
	if s.Exemption != nil {
		x := *s.Exemption
		c.Exemption = &x
	}
	return c
}

// framesOf are subs as Save writes them.
func framesOf(t require, salt uint32, st governor.SavedState, subs ...governor.Saved) []byte {
	var all []byte
	var f framer
	if err := f.encode(salt, st, subs, func(b []byte) error { all = append(all, b...); return nil }); err != nil {
		t.Fatalf("encode: %v", err)
	}
	return all
}

type require interface{ Fatalf(string, ...any) }

// readAll gives back what framesOf wrote.
func readFrames(t require, salt uint32, b []byte) (subs []governor.Saved, w walked) {
	var dec decoder
	w, err := walk(strings.NewReader(string(b)), int64(len(b)), salt, func(_ byte, payload []byte, records uint64) error {
		got, err := dec.records(payload, func(s *governor.Saved) { subs = append(subs, keep(s)) })
		if err == nil && got != records {
			err = fmt.Errorf("%d records of %d", got, records)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return subs, w
}

// What stands on the boxes in the field must be read for ever, so the bytes are pinned.
func TestTheFormOfAFrameStays(t *testing.T) {
	t.Parallel()
	const pinned = "4d5766b501010000000000b00000000362b1c5797b0bc686c881a08f9eb0d49831c80164010b7265736964656e7469616c0201288080c58bc6d1010a040600063e0103532d310001bd0101bb0104011f02c301c101bf01bd011e280a8080c58bc6d10105303030315a03b301b1010b6d6f76657320686f7573650561646d696e0102c0000200b90101010000004d80b09dc2df0103b701b501010003532d32240103532d330001bd0101bb0104011f00c301c101bf01bd011e280a8080c58bc6d10105303030315a"
	want := []governor.Saved{some("S-1", 100), {Subscriber: "S-2", Gone: true}, some("S-3", 99)}
	want[2].Exemption, want[2].Destinations, want[2].Retries, want[2].Unlisted = nil, nil, nil, false
	if got := hex.EncodeToString(framesOf(t, 0x1234, at(100), want...)); got != pinned {
		t.Errorf("a frame is now\n%s, was\n%s", got, pinned)
	}
	b, err := hex.DecodeString(pinned)
	if err != nil {
		t.Fatal(err)
	}
	if got, w := readFrames(t, 0x1234, b); !reflect.DeepEqual(got, want) || w.end != int64(len(b)) {
		t.Errorf("%+v", got)
	}
	if st, ok := decodeState(b[headerLen:]); !ok || !st.Wall.Equal(at(100).Wall) || st.Clock != 100 || st.Cases != 100 {
		t.Errorf("%+v", st)
	}
}

func TestAnyRecordsSurviveAndAnyFlippedBitIsNoticed(t *testing.T) {
	t.Parallel()
	dur := rapid.OneOf(rapid.Just(time.Duration(0)), rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64().Draw(t, "d")) }))
	num := rapid.Custom(func(t *rapid.T) int { return int(rapid.Int32().Draw(t, "n")) })
	network := rapid.Custom(func(t *rapid.T) governor.Network {
		return governor.Network{Bits: rapid.Uint32().Draw(t, "bits"), IPv6: rapid.Bool().Draw(t, "6")}
	})
	one := rapid.Custom(func(t *rapid.T) governor.Saved {
		if rapid.IntRange(0, 9).Draw(t, "gone") == 0 {
			return governor.Saved{Subscriber: rapid.String().Draw(t, "id"), Gone: true}
		}
		v := governor.Saved{Subscriber: rapid.String().Draw(t, "id"), Plan: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "plan"), Unlisted: rapid.Bool().Draw(t, "unlisted"), Estimated: rapid.Bool().Draw(t, "estimated"),
			Mode: governor.Mode(rapid.Byte().Draw(t, "mode"))}
		if rapid.Bool().Draw(t, "trouble") {
			v.Stage, v.Case = governor.Stage(rapid.Byte().Draw(t, "stage")), rapid.String().Draw(t, "case")
			v.Since, v.Until, v.Confirmed = dur.Draw(t, "since"), dur.Draw(t, "until"), dur.Draw(t, "confirmed")
			v.Calm, v.Ended = dur.Draw(t, "calm"), dur.Draw(t, "ended")
			v.Cause = governor.Cause{Of: governor.Kind(rapid.Byte().Draw(t, "of")), Value: num.Draw(t, "value"), Limit: num.Draw(t, "limit"), Burst: num.Draw(t, "burst"), Window: dur.Draw(t, "window")}
		}
		for range rapid.IntRange(0, 19).Draw(t, "budgets") {
			v.Budgets = append(v.Budgets, governor.SavedBudget{Budget: governor.Budget{Of: governor.Kind(rapid.ByteRange(0, 1).Draw(t, "of")), Limit: num.Draw(t, "limit"), Per: dur.Draw(t, "per"), Burst: num.Draw(t, "burst")},
				WholeAt: dur.Draw(t, "whole"), CalmAt: dur.Draw(t, "calm")})
			if v.Estimated { // of others it is not kept
				v.Budgets[len(v.Budgets)-1].SureAt = dur.Draw(t, "sure")
			}
		}
		for range rapid.IntRange(0, 3).Draw(t, "destinations") {
			v.Destinations = append(v.Destinations, governor.SavedDestination{Budget: rapid.IntRange(0, 1<<16).Draw(t, "budget"), Network: network.Draw(t, "network"), At: dur.Draw(t, "at")})
		}
		for range rapid.IntRange(0, 3).Draw(t, "retries") {
			v.Retries = append(v.Retries, governor.SavedRetry{Network: network.Draw(t, "network"), Every: dur.Draw(t, "every"), WholeAt: dur.Draw(t, "whole"), UsedAt: dur.Draw(t, "used")})
		}
		if rapid.Bool().Draw(t, "exempt") {
			v.Exemption = &governor.SavedExemption{Since: dur.Draw(t, "since"), Until: dur.Draw(t, "until"), Reason: rapid.String().Draw(t, "reason"), By: rapid.String().Draw(t, "by")}
		}
		return v
	})
	rapid.Check(t, func(t *rapid.T) {
		subs := rapid.SliceOfN(one, 0, 12).Draw(t, "subs")
		st := governor.SavedState{Wall: time.Unix(0, rapid.Int64().Draw(t, "wall")), Clock: dur.Draw(t, "clock"), Cases: rapid.Uint64().Draw(t, "cases")}
		salt := rapid.Uint32().Draw(t, "salt")
		b := framesOf(t, salt, st, subs...)
		got, w := readFrames(t, salt, b)
		if len(got)+len(subs) > 0 && !reflect.DeepEqual(got, subs) || w.end != int64(len(b)) || w.lost+w.tail != 0 {
			t.Fatalf("%+v\nwas %+v, %+v", got, subs, w)
		}
		if back, ok := decodeState(b[headerLen:]); !ok || back != st {
			t.Fatalf("%+v was %+v", back, st)
		}
		i := rapid.IntRange(0, 8*len(b)-1).Draw(t, "bit")
		b[i/8] ^= 1 << (i % 8)
		if got, w := readFrames(t, salt, b); len(got) != 0 || w.end != 0 {
			t.Fatalf("bit %d flipped and not noticed", i)
		}
	})
}

// The fuzzer gets past the checksums, so that it meets the decoder.
func FuzzPayload(f *testing.F) {
	b := framesOf(f, 0, at(100), some("S-1", 100), governor.Saved{Subscriber: "S-2", Gone: true}, some("S-3", 1))
	f.Add(b[headerLen:])
	f.Fuzz(func(t *testing.T, payload []byte) {
		var dec decoder
		var subs []governor.Saved
		_, err := dec.records(payload, func(s *governor.Saved) { subs = append(subs, keep(s)) })
		st, ok := decodeState(payload)
		if err != nil || !ok {
			return
		}
		if again, _ := readFrames(t, 0, framesOf(t, 0, st, subs...)); len(again)+len(subs) > 0 && !reflect.DeepEqual(again, subs) {
			t.Fatalf("%+v became %+v", subs, again)
		}
	})
}

// Whatever is in a file, reading it ends, and what it gives was under a checksum.
func FuzzWalk(f *testing.F) {
	good := framesOf(f, 0, at(100), some("S-1", 100))
	f.Add(good)
	f.Add(append(slices.Clone(good[:40]), good...))
	f.Add(append(append(slices.Clone(good), make([]byte, 5000)...), good...))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := walk(strings.NewReader(string(b)), int64(len(b)), 0, func(_ byte, payload []byte, _ uint64) error {
			if sum := crc32.Checksum(payload, castagnoli); !strings.Contains(string(b), string(payload)) || len(payload) > maxPayload {
				t.Fatalf("%x is not in it", sum)
			}
			return nil
		})
		if err != nil || w.end > int64(len(b)) || (w.end < int64(len(b))) != (w.tail > 0) && w.end > 0 {
			t.Fatalf("%+v %v", w, err)
		}
	})
}

func TestAFrameHoldsManyRecordsAndARecordTooLongIsRefused(t *testing.T) {
	t.Parallel()
	var subs []governor.Saved
	for i := range 5000 {
		subs = append(subs, some(fmt.Sprintf("S-%05d", i), 5))
	}
	frames := 0
	b := framesOf(t, 1, at(1000), subs...)
	if _, err := walk(strings.NewReader(string(b)), int64(len(b)), 1, func(_ byte, p []byte, _ uint64) error {
		if frames++; len(p) > frameFull+1000 {
			t.Errorf("a payload of %d bytes", len(p))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d frames, %d bytes a record", len(b), frames, len(b)/len(subs))
	if got, w := readFrames(t, 1, b); !reflect.DeepEqual(got, subs) || w.tail != 0 {
		t.Errorf("%d came back", len(got))
	}
	large := some("S-1", 1)
	for range 100_000 {
		large.Destinations = append(large.Destinations, governor.SavedDestination{At: 1 << 62})
	}
	var f framer
	if err := f.encode(1, at(1), []governor.Saved{large}, func([]byte) error { return nil }); err == nil || !strings.Contains(err.Error(), "S-1") {
		t.Errorf("%v", err)
	}
}

// Names are chosen by others. One that has a whole frame in it is not taken for one when the frame around it is damaged.
func TestAFrameInANameIsNoFrame(t *testing.T) {
	t.Parallel()
	forged := framesOf(t, 0, at(1<<60), governor.Saved{Subscriber: "victim", Plan: "p", Stage: governor.StageCut})
	const salt = 0xdeadbeef
	first := framesOf(t, salt, at(1), governor.Saved{Subscriber: "radius:" + string(forged), Plan: "p"})
	b := append(slices.Clone(first), framesOf(t, salt, at(2), some("honest", 2))...)
	b[21] ^= 1 // the header, so that the length is of no use
	got, w := readFrames(t, salt, b)
	if len(got) != 1 || got[0].Subscriber != "honest" || w.lost != 1 {
		t.Errorf("%+v %+v", got, w)
	}
	if got, _ := readFrames(t, 0, b); len(got) != 1 || got[0].Subscriber != "victim" {
		t.Errorf("without the salt it would not have been: %v", got)
	}
}
