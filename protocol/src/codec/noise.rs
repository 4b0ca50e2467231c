//! The counter generator behind stochastic rounding and random choices: a word is a function of a
//! key and its place, so that it does not matter who asks for which word when.
//!
//! Integers only. The mixing constants are those of splitmix64 (Steele et al. 2014) and of
//! lowbias32 (Wellons 2018, public domain).

/// The words of one block.
#[derive(Clone, Copy)]
pub(super) struct Noise(u32);

impl Noise {
    /// Those of block number `block` under `key`.
    pub fn of_block(key: u64, block: usize) -> Noise {
        let mut word = key ^ (block as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Noise((word >> 32) as u32 ^ word as u32)
    }

    /// Word number `index`.
    pub fn word(self, index: u32) -> u32 {
        let mut word = self.0.wrapping_add(index.wrapping_mul(0x9e37_79b9));
        word = (word ^ word >> 16).wrapping_mul(0x7feb_352d);
        word = (word ^ word >> 15).wrapping_mul(0x846c_a68b);
        word ^ word >> 16
    }

    /// Word number `index` as a number in \[0, 1) with 24 bits.
    pub fn unit(self, index: u32) -> f32 {
        (self.word(index) >> 8) as i32 as f32 * (1.0 / (1 << 24) as f32)
    }
}
