// Package tlshello reads TLS ClientHellos: the version asked for, the server name and the JA4 fingerprint.
//
// Assembler takes the client's bytes as they arrive, however they are cut into segments and records, and
// never keeps more than one message of MaxHello bytes. Parse reads the whole message. Input that is wrong
// is a Status or an error to count, never a panic. The ClientHello of SSL 2.0 framing, with which clients
// before 2010 open a TLS 1.0 handshake, is known too.
package tlshello

// MaxHello is the longest ClientHello that is followed, in bytes of the handshake message without its
// four-byte header: the size of a full TLS record. Today's are below 2 KiB with a post-quantum key share;
// RFC 8446 would allow 16 MiB.
const MaxHello = 16 << 10

// Hello is what a ClientHello says. All of it is the client's claim: SNI and ALPN were made safe to log.
type Hello struct {
	Version       uint16 // highest version offered: from supported_versions if sent (GREASE ignored), else LegacyVersion
	LegacyVersion uint16 // the version field of the ClientHello itself
	SNI           string // server name, "" if none was sent; see safeName for what it may contain
	ALPN          string // first protocol offered, "" if none, made safe as SNI
	JA4           string // FoxIO's JA4 (TLS client over TCP): "t13d1516h2_8daaf6152771_e5627efa2ab1"; "" with SSL 2.0 framing
	JA3           string // Salesforce's JA3, the older fingerprint: an MD5 sum in hexadecimal; "" with SSL 2.0 framing

	Ciphers    []uint16 // cipher suites in the order sent, GREASE included
	Extensions []uint16 // extension types in the order sent, GREASE included
	Signatures []uint16 // signature_algorithms in the order sent
	Groups     []uint16 // supported_groups (elliptic_curves before TLS 1.3) in the order sent

	alpn    []byte // first protocol as sent: JA4 takes its first and last byte
	points  []byte // ec_point_formats: JA3 lists them
	sniSent bool   // the extension was there, whatever it held
}

// Status is how far an Assembler is. Only NeedMore can change with more bytes.
type Status uint8

// The states of an Assembler.
const (
	NeedMore  Status = iota
	Done             // Hello has it
	NotTLS           // the bytes do not start a TLS handshake with a ClientHello
	TooLong          // a ClientHello above MaxHello
	Malformed        // records or message contradict themselves
)

// String is the state in words, fit for a metric label.
func (s Status) String() string {
	switch s {
	case NeedMore:
		return "need_more"
	case Done:
		return "done"
	case NotTLS:
		return "not_tls"
	case TooLong:
		return "too_long"
	case Malformed:
		return "malformed"
	}
	return "unknown"
}
