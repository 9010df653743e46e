package bench

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"
)

// readerTask is somebody who reads the web admin without a pause.
type readerTask struct {
	Base  string // https://HOST:PORT
	Token string
	What  string   // one of those below
	Words []string // to search for in turn, each a name that one line has
	Last  string   // the cursor of the last page by id; empty: to be found
}

// What is read: the pages of subscribers, the API's list of all, and its searches, of which most find nobody and so go
// through all.
const (
	readPages    = "pages"
	readList     = "list"
	readSearches = "searches"
)

type readerResult struct {
	Answers uint64
	Bytes   uint64
	Slowest time.Duration
}

func newReader(task readerTask) (*reader, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &reader{readerTask: task, client: http.Client{Jar: jar, Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the box has just made its certificate
	}}}, nil
}

func readAdmin(task readerTask, stop <-chan struct{}) (readerResult, error) {
	r, err := newReader(task)
	if err != nil {
		return readerResult{}, err
	}
	step := r.list
	switch task.What {
	case readSearches:
		step = r.search
	case readPages:
		if err := r.login("admin"); err != nil {
			return readerResult{}, err
		}
		step = r.page
	}
	for {
		if err := step(); err != nil { // once at least: nobody is to believe that none was needed
			return r.result, err
		}
		select {
		case <-stop:
			return r.result, nil
		default:
		}
	}
}

type reader struct {
	readerTask
	client http.Client
	turn   int
	cursor string
	result readerResult
}

// login makes a user, of whom the first has to be an admin, with the admin's token, and logs in as one does who was given a password: with another that they choose.
func (r *reader) login(role string) error {
	name, given, chosen := "reader-"+strings.ToLower(rand.Text()[:8]), rand.Text(), rand.Text()
	body, err := json.Marshal(map[string]string{"name": name, "role": role, "password": given})
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, r.Base+"/api/v1/users", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+r.Token)
	req.Header.Set("Content-Type", "application/json")
	once := r.client
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := once.Do(req)
	if err != nil {
		return err
	}
	said, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("make a user: %s: %s", resp.Status, said)
	}
	for _, step := range []struct {
		path string
		form url.Values
	}{
		{"/login", url.Values{"name": {name}, "password": {given}}},
		{"/login/password", url.Values{"password": {chosen}, "again": {chosen}}},
	} {
		resp, err := once.PostForm(r.Base+step.path, step.form)
		if err != nil {
			return err
		}
		if err := resp.Body.Close(); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusSeeOther {
			return fmt.Errorf("log in: %s: %s", step.path, resp.Status)
		}
	}
	return nil
}

// page reads the first page of all, then that of a stage, then searches for one line.
func (r *reader) page() error {
	r.turn++
	path := "/subscribers"
	switch r.turn % 3 {
	case 1:
		path += "?stage=observe"
	case 2:
		path += "?q=" + url.QueryEscape(r.Words[r.turn/3%len(r.Words)])
	}
	_, err := r.get(path)
	return err
}

// search looks for a text that nobody has, for an address that nobody has, for one line, and for who is exempt.
func (r *reader) search() error {
	r.turn++
	q := url.Values{}
	switch r.turn % 4 {
	case 0:
		q.Set("exempt", "1")
	case 1:
		q.Set("q", "nobody's name")
	case 2:
		q.Set("q", "2001:db8:ffff::1")
	case 3:
		q.Set("q", r.Words[r.turn/4%len(r.Words)])
	}
	_, err := r.get("/api/v1/subscribers?" + q.Encode())
	return err
}

// list reads the whole list, as much at once as there is.
func (r *reader) list() error {
	q := url.Values{"limit": {"1000"}}
	if r.cursor != "" {
		q.Set("cursor", r.cursor)
	}
	body, err := r.get("/api/v1/subscribers?" + q.Encode())
	if err != nil {
		return err
	}
	var answer struct{ Next string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	r.cursor = answer.Next
	return nil
}

func (r *reader) get(path string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, r.Base+path, nil)
	if err != nil {
		return nil, err
	}
	if r.What != readPages {
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	began := time.Now()
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	r.result.Answers++
	r.result.Bytes += uint64(len(body))
	r.result.Slowest = max(r.result.Slowest, time.Since(began))
	return body, nil
}
