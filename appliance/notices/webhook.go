package notices

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// webhook posts notices as the Standard Webhooks specification 1.0 says: headers webhook-id, webhook-timestamp and
// webhook-signature, the last "v1," and the base64 of the HMAC-SHA256 of ID.TIMESTAMP.BODY.
type webhook struct {
	url    *url.URL
	key    []byte
	client *http.Client
	now    func() time.Time
}

func newWebhook(u *url.URL, key []byte, roots *x509.CertPool, now func() time.Time) *webhook {
	return &webhook{url: u, key: key, now: now, client: &http.Client{
		Timeout: attemptLimit,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true, // they are few
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // what is signed for one goes to no other
	}}
}

// body is what is posted.
type body struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      Notice    `json:"data"`
}

// sign is the webhook-signature of a body.
func sign(key []byte, id string, at int64, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.", id, at)
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func (w *webhook) send(ctx context.Context, n Notice) error {
	text, err := json.Marshal(body{n.Type, n.Time, n})
	if err != nil {
		return &refusal{err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.String(), bytes.NewReader(text))
	if err != nil {
		return &refusal{err.Error()}
	}
	at := w.now().Unix()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "mailweir")
	req.Header.Set("Webhook-Id", n.ID)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(at, 10))
	req.Header.Set("Webhook-Signature", sign(w.key, n.ID, at, text))
	resp, err := w.client.Do(req)
	if err != nil {
		if u, ok := err.(*url.Error); ok { // which repeats the URL, and that may have a secret in its path
			err = u.Err
		}
		return &unreachable{why: err.Error()}
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		return &refusal{fmt.Sprintf("it answers %s, and redirections are not followed; configure the address that it leads to", resp.Status)}
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		return &unreachable{why: "it answers " + resp.Status, after: retryAfter(resp.Header, w.now())}
	default:
		return &refusal{"it answers " + resp.Status}
	}
}

// retryAfter is what the header says (RFC 9110 section 10.2.3), 0 without one.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}
