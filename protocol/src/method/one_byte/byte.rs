//! A slope as a byte.
//!
//! Bit 7 is the sign, bits 0 to 6 are q: 0 is zero, else the size is `exp((q - 64) / 8)`. So sizes go from 3.8e-4 to
//! 2.63e3, and are off by 6.45% at most; smaller ones are zero, larger ones the largest.

/// Bits of the f32 nearest to `exp((q - 64) / 8)` for q = 1 to 127: machines differ in how they compute it.
const SIZES: [u32; 127] = [
    0x39c7_4c0c,
    0x39e1_d549,
    0x39ff_e709,
    0x3a10_fcdd,
    0x3a24_4aeb,
    0x3a3a_2aff,
    0x3a52_f4b8,
    0x3a6f_0b5d,
    0x3a87_6fb7,
    0x3a99_7833,
    0x3aad_e75d,
    0x3ac5_0f0c,
    0x3adf_4bff,
    0x3afd_074b,
    0x3b0f_5c03,
    0x3b22_7290,
    0x3b38_13bf,
    0x3b50_9633,
    0x3b6c_5c17,
    0x3b85_ea53,
    0x3b97_bef6,
    0x3bab_f360,
    0x3bc2_d87d,
    0x3bdc_c9ff,
    0x3bfa_2fd0,
    0x3c0d_bfd7,
    0x3c20_9f82,
    0x3c36_0282,
    0x3c4e_3e7f,
    0x3c69_b489,
    0x3c84_694e,
    0x3c96_0aae,
    0x3caa_0500,
    0x3cc0_a84a,
    0x3cda_4f35,
    0x3cf7_6081,
    0x3d0c_284c,
    0x3d1e_d1b4,
    0x3d33_f737,
    0x3d4b_ed86,
    0x3d67_149c,
    0x3d82_ec9c,
    0x3d94_5b4c,
    0x3da8_1c2e,
    0x3dbe_7e61,
    0x3dd7_db8c,
    0x3df4_9946,
    0x3e0a_9555,
    0x3e1d_0916,
    0x3e31_f1cc,
    0x3e49_a337,
    0x3e64_7c3c,
    0x3e81_7431,
    0x3e92_b0c2,
    0x3ea6_38d9,
    0x3ebc_5ab2,
    0x3ed5_6ef0,
    0x3ef1_da07,
    0x3f09_06e5,
    0x3f1b_4598,
    0x3f2f_f231,
    0x3f47_5f7d,
    0x3f61_eb51,
    0x3f80_0000,
    0x3f91_0b02,
    0x3fa4_5af2,
    0x3fba_3d29,
    0x3fd3_094c,
    0x3fef_22af,
    0x4007_7cee,
    0x4019_872c,
    0x402d_f854,
    0x4045_2246,
    0x405f_61c7,
    0x407d_1ffa,
    0x408f_69ff,
    0x40a2_8269,
    0x40b8_25b5,
    0x40d0_aa8d,
    0x40ec_7326,
    0x4105_f763,
    0x4117_cdc4,
    0x412c_0426,
    0x4142_eb7f,
    0x415c_df89,
    0x417a_4838,
    0x418d_cdab,
    0x41a0_af2e,
    0x41b6_1444,
    0x41ce_529e,
    0x41e9_cb55,
    0x4204_7639,
    0x4216_1951,
    0x422a_1597,
    0x4240_bb15,
    0x425a_6481,
    0x4277_78a3,
    0x428c_35f9,
    0x429e_e133,
    0x42b4_08c5,
    0x42cc_016b,
    0x42e7_2b27,
    0x4302_f962,
    0x4314_69c5,
    0x4328_2c95,
    0x433e_90f7,
    0x4357_f09b,
    0x4374_b122,
    0x438a_a2da,
    0x439d_1868,
    0x43b2_0328,
    0x43c9_b6e3,
    0x43e4_9286,
    0x4401_80d2,
    0x4412_bf11,
    0x4426_4911,
    0x443c_6d12,
    0x4455_83c3,
    0x4471_f1a0,
    0x4489_1443,
    0x449b_54be,
    0x44b0_035b,
    0x44c7_72f0,
    0x44e2_015b,
    0x4500_0c7d,
    0x4511_1929,
    0x4524_6afb,
];

/// The byte that says `slope` best, by its ratio to what the byte says.
pub fn encode(slope: f64) -> u8 {
    let square = slope * slope;
    // Between two sizes the middle is the root of their product; the step below the first is as wide.
    let beyond = |middle: f64| square > middle;
    let q = if beyond(first()) {
        1 + (1..127).take_while(|q| beyond(size(*q) * size(*q + 1))).count()
    } else {
        0
    };
    q as u8 | if slope.is_sign_negative() { 0x80 } else { 0 }
}

/// What a byte says.
pub fn decode(byte: u8) -> f32 {
    let size = match byte & 0x7f {
        0 => 0.0,
        q => f32::from_bits(SIZES[usize::from(q) - 1]),
    };
    if byte & 0x80 == 0 { size } else { -size }
}

fn size(q: usize) -> f64 {
    f64::from(f32::from_bits(SIZES[q - 1]))
}

/// The square of the middle below the first size.
fn first() -> f64 {
    size(1) * size(1) * size(1) / size(2)
}
