package webadmin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// jsonBody reads the JSON object that came with a request, member by member, and collects all that is wrong with it: what is missing, of
// another type, not known, or there twice.
type jsonBody struct {
	members map[string]json.RawMessage
	asked   []string
	errors  []fieldError
}

// bodyOf reads r's body, which must be one JSON object. Otherwise it answers and returns false.
func bodyOf(w http.ResponseWriter, r *http.Request) (*jsonBody, bool) {
	b := &jsonBody{members: map[string]json.RawMessage{}}
	err := b.read(r.Body)
	var large *http.MaxBytesError
	if err != nil && !errors.As(err, &large) { // what is wrong with the beginning does not matter of a body that is too large
		if _, rest := io.Copy(io.Discard, r.Body); errors.As(rest, &large) {
			err = rest
		}
	}
	switch {
	case errors.As(err, &large):
		problem(w, http.StatusRequestEntityTooLarge, "The body is too large", fmt.Sprintf("At most %d bytes.", large.Limit))
	case err != nil:
		problem(w, http.StatusBadRequest, "The body is not a JSON object", err.Error())
	}
	return b, err == nil
}

func (b *jsonBody) read(from io.Reader) error {
	dec := json.NewDecoder(from)
	t, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty")
	}
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return errors.New("it does not begin with {")
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name, raw := t.(string), json.RawMessage{} // JSON has no other names
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		if _, twice := b.members[name]; twice {
			b.wrong(name, "is there twice")
		}
		b.members[name] = raw
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

func (b *jsonBody) wrong(field, message string) {
	b.errors = append(b.errors, fieldError{Field: field, Message: message})
}

// text is a string that must be there, without spaces around it. null is none: whoever wants "" says so.
func (b *jsonBody) text(name string, mayBeEmpty bool) string {
	b.asked = append(b.asked, name)
	raw, there := b.members[name]
	if !there {
		b.wrong(name, "is missing")
		return ""
	}
	var v *string
	if err := json.Unmarshal(raw, &v); err != nil || v == nil {
		b.wrong(name, "must be a string")
		return ""
	}
	s := strings.TrimSpace(*v)
	if s == "" && !mayBeEmpty {
		b.wrong(name, "must not be empty")
	} else if message := unfit(s); message != "" {
		b.wrong(name, message)
	}
	return s
}

// secret is a string that must be there and may be empty, as it was sent.
func (b *jsonBody) secret(name string) string {
	b.asked = append(b.asked, name)
	var v *string
	if raw, there := b.members[name]; !there {
		b.wrong(name, "is missing")
	} else if err := json.Unmarshal(raw, &v); err != nil || v == nil {
		b.wrong(name, "must be a string")
	} else {
		return *v
	}
	return ""
}

// yes is true or false, and must be there.
func (b *jsonBody) yes(name string) bool {
	b.asked = append(b.asked, name)
	var v *bool
	if raw, there := b.members[name]; !there {
		b.wrong(name, "is missing")
	} else if err := json.Unmarshal(raw, &v); err != nil || v == nil {
		b.wrong(name, "must be true or false")
	} else {
		return *v
	}
	return false
}

// number is a whole number that must be there.
func (b *jsonBody) number(name string) int {
	b.asked = append(b.asked, name)
	var v *int
	if raw, there := b.members[name]; !there {
		b.wrong(name, "is missing")
	} else if err := json.Unmarshal(raw, &v); err != nil || v == nil {
		b.wrong(name, "must be a whole number")
	} else {
		return *v
	}
	return 0
}

// texts is a list of strings that must be there.
func (b *jsonBody) texts(name string) []string {
	b.asked = append(b.asked, name)
	var v *[]string
	if raw, there := b.members[name]; !there {
		b.wrong(name, "is missing")
		return nil
	} else if err := json.Unmarshal(raw, &v); err != nil || v == nil {
		b.wrong(name, "must be a list of strings")
		return nil
	}
	for _, s := range *v {
		if message := unfit(s); message != "" {
			b.wrong(name, message)
		}
	}
	return *v
}

// files are those that came with a configuration; it need have none.
func (b *jsonBody) files() (files []ConfigFile) {
	const name = "files"
	b.asked = append(b.asked, name)
	raw, there := b.members[name]
	if !there {
		return nil
	}
	var all []struct{ Key, Content *string }
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&all); err != nil {
		b.wrong(name, "must be a list of objects with key and content")
		return nil
	}
	for i, f := range all {
		switch at := fmt.Sprintf("files[%d]", i); {
		case f.Key == nil || unfit(*f.Key) != "" || !strings.HasSuffix(*f.Key, "_file"):
			b.wrong(at+".key", "must be a key of the configuration that names a file, such as notices.webhooks[0].secret_file")
		case f.Content == nil || *f.Content == "":
			b.wrong(at+".content", "must be what the file says")
		case slices.ContainsFunc(files, func(other ConfigFile) bool { return other.Key == *f.Key }):
			b.wrong(at+".key", "is there twice")
		default:
			files = append(files, ConfigFile{Key: *f.Key, Name: strings.ToLower(safeName(strings.TrimSuffix(*f.Key, "_file"))), Content: []byte(*f.Content)})
		}
	}
	return files
}

// unfit says why s cannot go into records and onto pages; empty: it can.
func unfit(s string) string {
	switch {
	case len(s) > maxText:
		return fmt.Sprintf("at most %d bytes", maxText)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError }):
		return "one line of text, without control characters"
	}
	return ""
}

// time is a time that must be there.
func (b *jsonBody) time(name string) time.Time {
	before := len(b.errors)
	s := b.text(name, false)
	if len(b.errors) > before {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		b.wrong(name, "a time like 2026-01-31T09:30:00Z")
	}
	return t
}

// refused answers 400 when something was wrong. Members that nobody asked for are wrong, too.
func (b *jsonBody) refused(w http.ResponseWriter) bool {
	for name := range b.members {
		if !slices.Contains(b.asked, name) {
			b.wrong(inert(name), "is not known here; known: "+strings.Join(b.asked, ", "))
		}
	}
	if len(b.errors) == 0 {
		return false
	}
	slices.SortStableFunc(b.errors, func(x, y fieldError) int { return strings.Compare(x.Field, y.Field) })
	badValues(w, b.errors)
	return true
}

func badValues(w http.ResponseWriter, wrong []fieldError) {
	writeProblem(w, problemDetails{Title: "The request has values that cannot be used", Status: http.StatusBadRequest, Errors: wrong})
}
