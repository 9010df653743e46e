package webadmin

import "net/netip"

// Networker changes the addresses of the box's management port, where they are the box's to give.
type Networker interface {
	// Network is the management port; nil where the box is not the image, and then nothing of it is shown.
	Network() *Network
	// TryNetwork puts other settings in force within seconds, and has them taken back by themselves when nobody confirms them in time. Errors are
	// those of [Configurer]. It writes an AUDIT record, as does what becomes of it.
	TryNetwork(n NetworkSettings, who string) (NetworkTrial, error)
	// ConfirmNetwork keeps what is tried, for whoever has its token and reached the box at one of the port's addresses of now; [Refused] otherwise. The token of
	// ports that are tried confirms these, wherever the box was reached.
	ConfirmNetwork(token string, at netip.Addr, who string) error
}

// NetworkSettings are those of the configuration's group management.
type NetworkSettings struct {
	VLAN        int      `json:"vlan"` // 0: untagged
	IPv4        string   `json:"ipv4"` // dhcp, off, or ADDRESS/BITS
	IPv4Gateway string   `json:"ipv4_gateway"`
	IPv6        string   `json:"ipv6"` // auto, off, or ADDRESS/BITS
	IPv6Gateway string   `json:"ipv6_gateway"`
	DNS         []string `json:"dns"`
}

// Network is the management port: GET /api/v1/network.
type Network struct {
	Settings  NetworkSettings `json:"settings"`  // of the configuration
	Addresses []string        `json:"addresses"` // that the port has now, ADDRESS/BITS
	Trial     *NetworkTrial   `json:"trial"`     // null: none goes on

	Ports *PortsTrial `json:"ports_trial"` // another shape of the ports between subscribers and internet that is tried; null: none is
	Why   string      `json:"why"`         // what is wrong with it
}

// PortsTrial is a shape of the ports between subscribers and internet that nobody has confirmed yet. It is in force, and taken back by itself.
type PortsTrial struct {
	Token  string  `json:"token"`  // that confirms it
	Before string  `json:"before"` // what comes back, for people
	After  string  `json:"after"`  // what is tried
	Left   Seconds `json:"left_s"` // until it is taken back
}

// NetworkTrial is a change that nobody has confirmed yet.
type NetworkTrial struct {
	Settings NetworkSettings `json:"settings"`
	Token    string          `json:"token,omitempty"` // that confirms it; only who began it has it
	Left     Seconds         `json:"left_s"`          // until it is taken back
}
