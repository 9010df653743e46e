// Package journal keeps on the box what it said (records) and what its governor was told (inputs), in files of a
// directory, as long as the configuration says and no longer.
//
// # Files
//
// Records and inputs have files of their own, records-00000001.seg, records-00000002.seg … and inputs-…, in the order in
// which they were begun. A file is a sequence of frames: the length of a payload and its CRC-32C, both 32 bits, little-endian,
// and the payload. The first frame names the format, the last one of a file that is complete sums it up, so that opening a
// journal does not read it. A frame that a power cut left half written is cut off when the journal is opened. Where a frame is
// damaged, reading goes on with the next whole one; what is damaged is said with its place (Damage). A file of inputs begins anew where
// the governor tells all that it knows, so that it can be played from there.
//
// # Deletion
//
// A file spans at most 1/64 of the shortest retention, and six hours at most. A row goes between one such span and a minute
// before its time and its time, never after: the file is written anew without it and takes the old one's place. What has
// gone leaves a stub: the numbers of the records, the hash of the record before the first and that of the last. So
// the chain over what is left can still be checked, and nothing of what they said is left: the hash is over a random event
// id, too, so that no guess at an address can be tried against it. When the first files hold nothing but stubs that are beyond their time they go, and the file begin says up to where.
//
// When all files together are larger than the bound, the oldest go, whatever their age.
//
// # Hold
//
// A case can be held: the records that name it, and all of its subscriber from a day before it opened until it closed, stay
// beyond their time and beyond the bound, until the hold is ended; then they go within a minute. While it is not known what is held, since holds.json is damaged, all that may be of a case stays.
//
// # Who waits
//
// Nobody. Add takes a record into a bounded queue; Run writes it within flushEvery. A disk that is full or slow costs records
// of the journal, which leave a stub of their own, and are counted; it costs the packet path nothing.
package journal
