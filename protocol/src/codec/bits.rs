//! Numbers of a few bits, one after another, lowest bits first.

/// Bytes of `count` numbers.
pub(super) fn packed_len(count: usize, bits: u32) -> usize {
    (count as u64 * u64::from(bits)).div_ceil(8) as usize
}

/// Appends numbers of at most `bits` bits, 32 at most; what is left of the last byte is 0.
pub(super) fn pack(numbers: &[[u8; 4]], bits: u32, out: &mut Vec<u8>) {
    let (mut word, mut filled) = (0u64, 0);
    for number in numbers {
        word |= u64::from(u32::from_le_bytes(*number)) << filled;
        filled += bits;
        if filled >= 32 {
            out.extend_from_slice(&(word as u32).to_le_bytes());
            (word, filled) = (word >> 32, filled - 32);
        }
    }
    out.extend_from_slice(&word.to_le_bytes()[..filled.div_ceil(8) as usize]);
}

/// Reads `count` numbers back.
pub(super) fn unpack(bytes: &[u8], bits: u32, count: usize) -> impl Iterator<Item = u32> {
    let (mut word, mut filled, mut bytes) = (0u64, 0, bytes.iter());
    (0..count).map(move |_| {
        while filled < bits {
            word |= u64::from(bytes.next().copied().unwrap_or(0)) << filled;
            filled += 8;
        }
        let number = (word & ((1 << bits) - 1)) as u32;
        (word, filled) = (word >> bits, filled - bits);
        number
    })
}

/// Whether the bits after the last number are 0.
pub(super) fn padding_is_zero(bytes: &[u8], bits: u32, count: usize) -> bool {
    let used = (count as u64 * u64::from(bits) % 8) as u32;
    used == 0 || bytes.last().is_none_or(|last| last >> used == 0)
}
