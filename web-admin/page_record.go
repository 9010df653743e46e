package webadmin

import (
	"net/http"
	"strconv"
)

// recordPageView answers: what exactly did the box say, and was it changed since?
type recordPageView struct {
	recordView
	Text          string // the line for people; empty: there is none, or What says the same
	Params        []paramView
	Line          string
	Hash          string
	Before, After linkView
	Fault         string
}

// paramView is a parameter with what it means.
type paramView struct{ Name, Value, Means string }

// linkView is how a record hangs together with the one before or behind it.
type linkView struct {
	Seq, Link string // Link is empty where it is not there
	Text      string
	Tone      string // good, bad; empty: nothing can be said
}

func recordLink(seq uint64) string { return "/records/" + strconv.FormatUint(seq, 10) }

func (s *Server) recordPage(w http.ResponseWriter, r *http.Request) {
	seq, ok := sequence(r)
	if !ok {
		s.refuse(w, r, http.StatusNotFound, "No such record", "Records have numbers from 1 on. The list of records has those there are.")
		return
	}
	p, fault, found, err := s.placeOf(r, seq)
	switch {
	case err != nil:
		return // nobody waits any more
	case !found && fault != "":
		s.refuse(w, r, http.StatusServiceUnavailable, "This record cannot be read", "The journal on the box's disk says: "+inert(fault)+". Mail is not affected. The collectors' records have it.")
		return
	case !found:
		s.refuse(w, r, http.StatusNotFound, "No such record", "It has not been made yet, its time is over, or the journal never got it. The collectors' records have what they got.")
		return
	}
	z := zone{s.opt.Now(), s.opt.Location}
	v := recordPageView{recordView: recordOf(p.Record, z), Line: visible(p.Record.Line), Hash: inert(p.Record.Hash), Fault: inert(fault)}
	if v.Text = visible(p.Record.Text); v.Text == v.What {
		v.Text = ""
	}
	for _, param := range p.Record.Params {
		v.Params = append(v.Params, paramView{inert(param.Name), visible(param.Value), paramMeans[param.Name]})
	}
	v.Before, v.After = linkOf(p.Before, seq-1), linkOf(p.After, seq+1)
	s.render(w, r, http.StatusOK, "record", frame{Title: "Record " + v.Seq, Here: "/records"}, v)
}

// linkWords say how a record hangs together with its neighbour, by the words of [RecordPlace].
var linkWords = map[string]linkView{
	"joins":   {Text: "joined by its hash: neither was changed since", Tone: "good"},
	"broken":  {Text: "the hash does not fit: one of the two was changed, or the chain began anew here, which a HEALTH record chain_restart says", Tone: "bad"},
	"missing": {Text: "not here: its time is over, or the journal never got it"},
	"first":   {Text: "this is the first record of the chain"},
	"last":    {Text: "this is the last record so far"},
}

func linkOf(how string, seq uint64) linkView {
	v := linkWords[how]
	if how == "joins" || how == "broken" {
		v.Seq, v.Link = number(seq), recordLink(seq)
	} else if how == "missing" {
		v.Seq = number(seq)
	}
	return v
}
