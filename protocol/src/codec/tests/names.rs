use super::*;

#[test]
fn every_codec_has_one_name() {
    for name in CODECS {
        assert_eq!(name.parse::<Codec>().unwrap().to_string(), name);
    }
    let wrong = [
        "",
        "F32",
        "int1",
        "int9",
        "int",
        "int08",
        "int+4",
        "top",
        "top-64",
        "top-0/4096",
        "top-64/64",
        "top-65/64",
        "top-1/65537",
        "top-1/1",
        "top-01/64",
        "top-1/64-",
        "top-1/64-stat",
        "top-1/64-stat2-whole",
        "rand-1/64-whole",
        "rand-0/8",
        "rand-8/8",
        "top-1/64 ",
    ];
    for name in wrong {
        let refused = name.parse::<Codec>();
        assert!(
            refused.as_ref().is_err_and(|error| error.to_string().contains("int2 to int8")),
            "{name}: {refused:?}"
        );
    }
}

/// A manifest that came in bytes may hold any numbers.
#[test]
fn impossible_numbers_are_known() {
    assert!(all().all(|codec| codec.is_possible()));
    let top = |keep, of| Codec::TopK(TopK { keep, of, whole: false, statistical: false });
    let random = |keep, of| Codec::RandK(RandK { keep, of });
    for codec in
        [top(0, 8), top(8, 8), top(1, 0), top(1, 65_537), random(0, 8), random(9, 8), random(1, u32::MAX)]
    {
        assert!(!codec.is_possible(), "{codec}");
    }
    assert!(![0, 1, 9, 255].into_iter().any(|bits| Codec::Uniform { bits }.is_possible()));
}
