package lab

// OnePacketEach has the machine send every TCP segment as a packet of its own, as network cards put them on the wire.
// Without it the kernel hands many segments on as one (GSO), which on this network nobody ever takes apart.
func (l Line) OnePacketEach() error {
	h, err := l.Namespace.netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	return h.LinkSetGSOMaxSegs(link, 1)
}
