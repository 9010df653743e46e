package remote

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// Values travel by their kind, without names and types: both ends are one program. A number is a varint; a text its length and its bytes; a list or a map its
// length and one, 0 for nil; a pointer or a function a byte that says whether there is one; a struct its fields, all of which are exported.

// apart is from how many bytes on bytes are sent from where they are.
const apart = 16 << 10

// writing is a message as it is made.
type writing struct {
	parts [][]byte
	tail  []byte // behind them
}

// whole is all of it.
func (w *writing) whole() (parts [][]byte, size int) {
	parts = append(w.parts, w.tail)
	for _, p := range parts {
		size += len(p)
	}
	return parts, size
}

func (w *writing) number(n uint64) { w.tail = binary.AppendUvarint(w.tail, n) }
func (w *writing) signed(n int64)  { w.tail = binary.AppendVarint(w.tail, n) }
func (w *writing) flag(is bool) {
	b := byte(0)
	if is {
		b = 1
	}
	w.tail = append(w.tail, b)
}

func (w *writing) text(s string) {
	w.number(uint64(len(s)))
	w.tail = append(w.tail, s...)
}

// bytes tells nil from none.
func (w *writing) bytes(b []byte) {
	if b == nil {
		w.number(0)
		return
	}
	w.number(uint64(len(b)) + 1)
	if len(b) < apart {
		w.tail = append(w.tail, b...)
		return
	}
	w.parts, w.tail = append(w.parts, w.tail, b), nil
}

// How a time names its zone.
const (
	zoneUTC   = 0
	zoneLocal = 1
	zoneOther = 2 // its name and its offset in seconds follow
)

// time keeps the instant and the zone, and drops the monotonic reading.
func (w *writing) time(t time.Time) {
	switch t.Location() {
	case time.UTC:
		w.number(zoneUTC)
	case time.Local:
		w.number(zoneLocal)
	default:
		name, offset := t.Zone()
		w.number(zoneOther)
		w.text(name)
		w.signed(int64(offset))
	}
	w.signed(t.Unix())
	w.number(uint64(t.Nanosecond()))
}

// telling says whether a function is one that is told something, as of progress: such a one can be called from afar.
func telling(f reflect.Value) bool { return !f.IsNil() && f.Type().NumOut() == 0 }

func (w *writing) value(v reflect.Value) error {
	t := v.Type()
	if t == timeType {
		w.time(v.Interface().(time.Time))
		return nil
	}
	if slices.Contains(selfWritings, t) {
		b, err := v.Interface().(encoding.BinaryMarshaler).MarshalBinary()
		w.bytes(b)
		return err
	}
	switch v.Kind() {
	case reflect.Bool:
		w.flag(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		w.signed(v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		w.number(v.Uint())
	case reflect.Float32, reflect.Float64:
		w.tail = binary.BigEndian.AppendUint64(w.tail, math.Float64bits(v.Float()))
	case reflect.String:
		w.text(v.String())
	case reflect.Func:
		w.flag(telling(v))
	case reflect.Pointer:
		if w.flag(!v.IsNil()); !v.IsNil() {
			return w.value(v.Elem())
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			w.bytes(v.Bytes())
			return nil
		}
		if v.IsNil() {
			w.number(0)
			return nil
		}
		w.number(uint64(v.Len()) + 1)
		for i := range v.Len() {
			if err := w.value(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		if v.IsNil() {
			w.number(0)
			return nil
		}
		w.number(uint64(v.Len()) + 1)
		for it := v.MapRange(); it.Next(); {
			if err := errors.Join(w.value(it.Key()), w.value(it.Value())); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !t.Field(i).IsExported() {
				return fmt.Errorf("%s.%s does not travel", t, t.Field(i).Name)
			}
			if err := w.value(v.Field(i)); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("a %s does not travel", t)
	}
	return nil
}

// reading is a message as it is taken apart. What is not as it has to be leaves it bad, and everything behind it zero.
type reading struct {
	rest []byte
	room int // how many bytes of memory its lists, maps and pointers may still take
	bad  bool
}

// roomOf is the room of one message: of bytes and texts there are never more than came.
const roomOf = 8 << 20

func (r *reading) fail() { r.bad, r.rest = true, nil }

func (r *reading) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reading) number() uint64 {
	n, used := binary.Uvarint(r.rest)
	if used <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[used:]
	return n
}

func (r *reading) signed() int64 {
	n, used := binary.Varint(r.rest)
	if used <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[used:]
	return n
}

func (r *reading) flag() bool {
	b := r.take(1)
	return len(b) == 1 && b[0] == 1
}

func (r *reading) text() string { return string(r.take(r.number())) }

func (r *reading) bytes() []byte {
	n := r.number()
	if n == 0 {
		return nil
	}
	b := r.take(n - 1)
	if len(b) < apart && !r.bad { // it is not to keep the whole message
		if b = slices.Clone(b); b == nil {
			b = []byte{}
		}
	}
	return b
}

func (r *reading) time() time.Time {
	zone := r.number()
	where := time.UTC
	switch zone {
	case zoneUTC:
	case zoneLocal:
		where = time.Local
	case zoneOther:
		name, offset := r.text(), r.signed()
		where = time.FixedZone(name, int(offset))
	default:
		r.fail()
	}
	sec, nano := r.signed(), r.number()
	if nano >= 1e9 {
		r.fail()
		return time.Time{}
	}
	return time.Unix(sec, int64(nano)).In(where)
}

// spend takes memory from the room.
func (r *reading) spend(n uint64) {
	if n > uint64(max(r.room, 0)) {
		r.fail()
		return
	}
	r.room -= int(n)
}

// value reads into v, which can be set. give makes the functions of it; nil: they stay nil.
func (r *reading) value(v reflect.Value, give func(reflect.Type) reflect.Value) error {
	if r.value1(v, give); r.bad {
		return errDamaged
	}
	return nil
}

func (r *reading) value1(v reflect.Value, give func(reflect.Type) reflect.Value) {
	if r.bad {
		return
	}
	t := v.Type()
	if t == timeType {
		v.Set(reflect.ValueOf(r.time()))
		return
	}
	if slices.Contains(selfWritings, t) {
		if v.Addr().Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(r.bytes()) != nil {
			r.fail()
		}
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.flag())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(r.signed())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(r.number())
	case reflect.Float32, reflect.Float64:
		if b := r.take(8); len(b) == 8 {
			v.SetFloat(math.Float64frombits(binary.BigEndian.Uint64(b)))
		}
	case reflect.String:
		v.SetString(r.text())
	case reflect.Func:
		if r.flag() && give != nil {
			v.Set(give(t))
		}
	case reflect.Pointer:
		if !r.flag() {
			return
		}
		if r.spend(uint64(t.Elem().Size())); !r.bad {
			v.Set(reflect.New(t.Elem()))
			r.value1(v.Elem(), give)
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			v.SetBytes(r.bytes())
			return
		}
		n, some := r.length(uint64(t.Elem().Size()))
		if !some {
			return
		}
		v.Set(reflect.MakeSlice(t, n, n))
		for i := range n {
			r.value1(v.Index(i), give)
		}
	case reflect.Map:
		n, some := r.length(uint64(t.Key().Size() + t.Elem().Size()))
		if !some {
			return
		}
		v.Set(reflect.MakeMapWithSize(t, n))
		for range n {
			key, value := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
			r.value1(key, give)
			if r.value1(value, give); r.bad {
				return
			}
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			r.value1(v.Field(i), give)
		}
	default:
		r.fail()
	}
}

// length is that of a list or a map, whose elements take size bytes of memory each, and at least one of the message; false: it is nil, or bad.
func (r *reading) length(size uint64) (n int, some bool) {
	of := r.number()
	if of == 0 {
		return 0, false
	}
	if of--; of > uint64(len(r.rest)) {
		r.fail()
		return 0, false
	}
	r.spend(of * max(size, 1))
	return int(of), !r.bad
}

// selfWritings are types whose fields are their own affair.
var selfWritings = []reflect.Type{reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.AddrPort](), reflect.TypeFor[netip.Prefix]()}

var timeType = reflect.TypeFor[time.Time]()
