//! Rows of features: what is read, how it is split and scaled, and what is refused.

use driftless_compute::{
    AUSTRALIAN, Batch, DIGITS, DataError, IdxError, LineError, RowShape, Scaling, Split, Table, TableError,
    TableOptions,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const SEED: [u8; 32] = [7; 32];

/// All rows as they stand in the file.
const AS_IT_IS: TableOptions = TableOptions { inputs: None, scaling: Scaling::Raw, split: Split::Whole };

fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An IDX array of bytes.
fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_be_bytes()).collect();
    [&[0, 0, 8, sizes.len() as u8 / 4], sizes.as_slice(), values].concat()
}

/// Features and labels of all rows.
fn all(table: &Table) -> (Vec<f32>, Vec<u32>) {
    let Batch::Rows { features, labels } = table.rows(0..table.samples() as usize) else { panic!("rows") };
    (features.to_vec(), labels.to_vec())
}

fn read(bytes: &[u8]) -> Result<Table, DataError> {
    let folder = tempfile::tempdir().unwrap();
    Table::open(&[file(folder.path(), "file", bytes)], AS_IT_IS, SEED)
}

/// The reason, without the file that it names.
fn refused(bytes: &[u8]) -> TableError {
    match read(bytes) {
        Err(DataError::Table { path, error }) if path.ends_with("file") => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn csv_with_and_without_a_header() {
    let expected = (vec![1.0, 2.5, -3.0, 0.0], vec![1, 0]);
    for text in [
        "1,2.5,1\n-3,0,0\n",
        "a,b,label\n1,2.5,1\n-3,0,0",
        "\u{feff}a,b,label\r\n1,2.5,1\r\n\r\n -3 , 0 ,0\r\n",
        "0,1,\"label\"\n\"1\",2.5e0,1.0\n-3,-0.0,+0\n",
    ] {
        let table = read(text.as_bytes()).unwrap();
        assert_eq!(all(&table), expected, "{text}");
        assert_eq!(table.shape(), RowShape { inputs: 2, classes: 2 });
    }
}

#[test]
fn libsvm_with_gaps_comments_and_signs() {
    let table = read(b"+1 1:0.5 3:2 # two\n-1 2:-1e1\n\n# nothing\n1\n").unwrap();
    assert_eq!(all(&table), (vec![0.5, 0.0, 2.0, 0.0, -10.0, 0.0, 0.0, 0.0, 0.0], vec![1, 0, 1]));
    let table = read(b"3 1:1\n0 2:1\n").unwrap();
    assert_eq!(table.shape(), RowShape { inputs: 2, classes: 4 });

    let folder = tempfile::tempdir().unwrap();
    let path = [file(folder.path(), "file", b"1 2:3\n0 1:1\n")];
    let open = |inputs| Table::open(&path, TableOptions { inputs: Some(inputs), ..AS_IT_IS }, SEED);
    assert_eq!(all(&open(3).unwrap()), (vec![0.0, 3.0, 0.0, 1.0, 0.0, 0.0], vec![1, 0]));
    let error = open(1).unwrap_err();
    assert!(matches!(error, DataError::Table { error: TableError::Inputs { found: 2, expected: 1 }, .. }));
    assert!(matches!(
        open(usize::MAX).unwrap_err(),
        DataError::Table { error: TableError::TooLarge { .. }, .. }
    ));
}

#[test]
fn idx_pairs_are_found_and_formats_told_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) =
        (idx(&[3, 2, 2], &[0, 51, 102, 153, 204, 255, 0, 0, 0, 0, 0, 255]), idx(&[3], &[7, 0, 2]));
    let scaled =
        [0.0, 51.0, 102.0, 153.0, 204.0, 255.0, 0.0, 0.0, 0.0, 0.0, 0.0, 255.0].map(|v: f32| v / 255.0);
    let options = TableOptions { split: Split::Whole, ..TableOptions::default() };
    let check = |paths: &[PathBuf]| {
        let table = Table::open(paths, options, SEED).unwrap();
        assert_eq!(all(&table), (scaled.to_vec(), vec![7, 0, 2]));
        assert_eq!(table.shape(), RowShape { inputs: 4, classes: 8 });
    };
    // Names that say nothing, and one compressed.
    let pair = [file(folder.path(), "x", &gzip(&images)), file(folder.path(), "y.csv", &labels)];
    check(&pair);
    // Beside each other, one compressed and one not.
    let images_path = file(folder.path(), "train-images-idx3-ubyte.gz", &gzip(&images));
    file(folder.path(), "train-labels-idx1-ubyte", &labels);
    check(&[images_path]);
    // Raw, and twice in one table.
    let twice = [&pair[..], &pair[..]].concat();
    let table = Table::open(&twice, AS_IT_IS, SEED).unwrap();
    assert_eq!((table.samples(), all(&table).0[1]), (6, 51.0));
    // Text is compressed as well.
    let text = file(folder.path(), "z", &gzip(b"1,2,0\n"));
    assert_eq!(all(&Table::open(&[text], AS_IT_IS, SEED).unwrap()), (vec![1.0, 2.0], vec![0]));
}

#[test]
fn bad_idx_files_name_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let good = idx(&[2, 2], &[1, 2, 3, 4]);
    let error = |images: &[u8], labels: &[u8]| {
        let mut paths = vec![file(folder.path(), "images", images)];
        if !labels.is_empty() {
            paths.push(file(folder.path(), "labels", labels));
        }
        match Table::open(&paths, AS_IT_IS, SEED) {
            Err(DataError::Table { error: TableError::Idx(error), .. }) => error,
            other => panic!("{other:?}"),
        }
    };
    let labels = idx(&[2], &[0, 1]);
    assert_eq!(error(&good[..3], &labels), IdxError::Header);
    assert_eq!(error(&good[..7], &labels), IdxError::Header);
    assert_eq!(error(&good[..15], &labels), IdxError::Length { expected: 16, found: 15 });
    assert_eq!(error(&[&good[..], &[0]].concat(), &labels), IdxError::Length { expected: 16, found: 17 });
    assert_eq!(error(&[&[0, 0, 0x0d], &good[3..]].concat(), &labels), IdxError::Type(0x0d));
    assert_eq!(error(&idx(&[u32::MAX; 4], &[]), &labels), IdxError::Sizes(vec![u32::MAX; 4]));
    assert_eq!(error(&idx(&[2, 0], &[]), &labels), IdxError::Sizes(vec![2, 0]));
    assert_eq!(error(&idx(&[], &[1]), &labels), IdxError::Sizes(vec![]));
    assert_eq!(error(&good, &idx(&[1], &[0])), IdxError::Count { labels: 1, images: 2 });
    assert_eq!(error(&labels, &labels), IdxError::NoImages);
    fs::remove_file(folder.path().join("labels")).unwrap();
    assert_eq!(error(&good, b""), IdxError::NoLabels { expected: "labels".into() });
    file(folder.path(), "labels.gz", &gzip(b"1,2\n"));
    assert_eq!(error(&good, b""), IdxError::NotLabels);
    file(folder.path(), "labels.gz", &gzip(&good));
    assert_eq!(error(&good, b""), IdxError::NotLabels);
}

#[test]
fn bad_lines_are_named() {
    let line = |bytes: &[u8]| match refused(bytes) {
        TableError::Line { line, error } => (line, error),
        other => panic!("{other:?}"),
    };
    let number = |text: &str| LineError::Number { text: text.into() };
    let label = |text: &str| LineError::Label { text: text.into() };
    assert_eq!(line(b"a,b\n\n1,0\n1,2,0\n"), (4, LineError::Fields { found: 3, expected: 2 }));
    assert_eq!(line(b"1,0\nx,0\n"), (2, number("x")));
    assert_eq!(line(b"1,0\nNaN,0\n"), (2, number("NaN")));
    assert_eq!(line(b"1,0\n1e39,0\n"), (2, number("1e39")));
    assert_eq!(line(b"1,0\n,0\n"), (2, number("")));
    assert_eq!(line(b"1,0\n1,0.5\n"), (2, label("0.5")));
    assert_eq!(line(b"1,0\n1,65536\n"), (2, label("65536")));
    assert_eq!(line(b"1,0\n1,-2\n"), (2, label("-2")));
    assert_eq!(line(&[b"1,0\n", &[0xff; 99][..], b",0"].concat()), (2, number(&"\u{fffd}".repeat(24))));
    assert_eq!(line(b"1 1:2\nx 1:2\n"), (2, label("x")));
    assert_eq!(line(b"1 1:2\n1 2\n"), (2, LineError::Entry { text: "2".into() }));
    assert_eq!(line(b"1 1:2\n1 a:2\n"), (2, LineError::Entry { text: "a:2".into() }));
    assert_eq!(line(b"1 1:2\n1 2:inf\n"), (2, number("inf")));
    let index = |index| LineError::Index { index, maximum: 1 << 20 };
    assert_eq!(line(b"1 0:2\n"), (1, index(0)));
    assert_eq!(line(b"1 3:2 3:1\n"), (1, index(3)));
    assert_eq!(line(b"1 1048577:2\n"), (1, index(1_048_577)));
    assert_eq!(line(b"1 99999999999:2\n"), (1, index(99_999_999_999)));
    assert!(refused(b"1,0\n1,0.5\n").to_string().contains("line 2: the label \"0.5\""));
}

#[test]
fn files_that_are_no_table_are_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Table::open(&[], AS_IT_IS, SEED), Err(DataError::NoTables)));
    assert!(matches!(read(b""), Err(DataError::Empty { .. })));
    assert!(matches!(read(&gzip(b"")), Err(DataError::Empty { .. })));
    assert!(matches!(Table::open(&[folder.path().into()], AS_IT_IS, SEED), Err(DataError::NotAFile { .. })));
    let missing = folder.path().join("missing");
    assert!(matches!(Table::open(&[missing], AS_IT_IS, SEED), Err(DataError::Missing { .. })));
    assert!(matches!(refused(b"To be or not to be"), TableError::Unknown));
    assert!(matches!(refused(b"a,b,label\n"), TableError::TooFewRows { found: 0, needed: 1 }));
    assert!(matches!(refused(b"1,-1\n1,0\n"), TableError::Label(0)));
    assert!(matches!(refused(b"1,-1\n1,2\n"), TableError::Label(2)));
    assert!(matches!(refused(&gzip(b"1,0\n1,1\n")[..12]), TableError::Gzip(_)));
    // 300 rows of 2^20 features are 1.2 GB.
    assert!(matches!(
        refused([&b"1 1048576:1\n"[..], &b"1\n".repeat(300)].concat().as_slice()),
        TableError::TooLarge { .. }
    ));
    let one = Table::open(&[file(folder.path(), "file", b"1,0\n")], TableOptions::default(), SEED);
    assert!(matches!(
        one,
        Err(DataError::Table { error: TableError::TooFewRows { found: 1, needed: 2 }, .. })
    ));
    let [narrow, wide, sparse] = [("a", "1,0\n"), ("b", "1,2,0\n"), ("c", "1 1:1\n")]
        .map(|(name, text)| file(folder.path(), name, text.as_bytes()));
    let both = |second: &PathBuf| match Table::open(&[narrow.clone(), second.clone()], AS_IT_IS, SEED) {
        Err(DataError::Table { path, error }) if path == *second => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(both(&wide), TableError::Inputs { found: 2, expected: 1 }));
    assert!(matches!(both(&sparse), TableError::Mixed));
}

/// Every row carries its number, so that it can be told where it went.
#[test]
fn four_fifths_are_for_training_and_the_shuffle_is_always_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..103).map(|row| format!("{row},{}\n", row % 3)).collect();
    let path = [file(folder.path(), "rows", text.as_bytes())];
    let options = TableOptions { scaling: Scaling::Raw, ..TableOptions::default() };
    let rows = |seed: u8| {
        let table = Table::open(&path, options, [seed; 32]).unwrap();
        assert_eq!((table.samples(), table.validation_rows()), (82, 21));
        let Batch::Rows { features, labels } = table.rows(0..103) else { panic!("rows") };
        assert!(features.iter().zip(labels).all(|(row, label)| *row as u32 % 3 == *label));
        features.to_vec()
    };
    let shuffled = rows(1);
    assert_eq!(shuffled, rows(2));
    let mut sorted = shuffled.clone();
    sorted.sort_by(f32::total_cmp);
    assert!(sorted.iter().enumerate().all(|(row, value)| *value == row as f32) && sorted != shuffled);

    // Scaled by the largest row that trains: 102, or less where that row is for validation.
    let largest = shuffled[..82].iter().fold(0.0_f32, |a, b| a.max(*b));
    let table = Table::open(&path, TableOptions::default(), SEED).unwrap();
    let Batch::Rows { features, .. } = table.rows(0..103) else { panic!("rows") };
    assert!(features.iter().zip(&shuffled).all(|(scaled, raw)| *scaled == raw / largest));
}

#[test]
fn the_embedded_tables_are_what_they_say() {
    let digits = Table::embedded(DIGITS, TableOptions::default(), SEED).unwrap();
    assert_eq!((digits.samples(), digits.validation_rows()), (1437, 360));
    assert_eq!(digits.shape(), RowShape { inputs: 64, classes: 10 });
    let (features, _) = all(&digits);
    assert!(features.iter().all(|value| (0.0..=1.0).contains(value) && (value * 16.0).fract() == 0.0));

    let australian = Table::embedded(AUSTRALIAN, AS_IT_IS, SEED).unwrap();
    assert_eq!((australian.samples(), australian.validation_rows()), (690, 690));
    assert_eq!(australian.shape(), RowShape { inputs: 14, classes: 2 });
    // The first line of the file; 383 of all are -1.
    let (features, labels) = all(&australian);
    let first = [1.0, 22.08, 11.46, 2.0, 4.0, 4.0, 1.585, 0.0, 0.0, 0.0, 1.0, 2.0, 100.0, 1213.0];
    assert_eq!((&features[..14], labels[0]), (&first[..], 0));
    assert_eq!(labels.iter().filter(|label| **label == 0).count(), 383);
}

#[test]
fn features_of_libsvm_are_scaled_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = [file(folder.path(), "file", b"1 1:3 2:-1000\n0 1:-1.5 2:10\n1 4:0.25\n")];
    let options = TableOptions { inputs: Some(4), split: Split::Whole, ..TableOptions::default() };
    let expected = vec![1.0, -1.0, 0.0, 0.0, -0.5, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    assert_eq!(all(&Table::open(&path, options, SEED).unwrap()), (expected, vec![1, 0, 1]));

    let table = Table::embedded(AUSTRALIAN, TableOptions::default(), SEED).unwrap();
    let Batch::Rows { features, .. } = table.rows(0..table.samples() as usize) else { panic!("rows") };
    assert!((0..14).all(|column| {
        let largest = features.chunks(14).map(|row| row[column].abs()).fold(0.0, f32::max);
        largest == 1.0
    }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the bytes: a table or a typed error, never a panic.
    #[test]
    fn garbage_is_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 1..200), kind in 0..4_u8) {
        let bytes = match kind {
            0 => bytes,
            1 => bytes.iter().map(|byte| b"0123456789.,:\n -e+#\""[*byte as usize % 20]).collect(),
            2 => [&[0, 0, 8], bytes.as_slice()].concat(),
            _ => [&[0x1f, 0x8b, 8], bytes.as_slice()].concat(),
        };
        if let Ok(table) = read(&bytes) {
            let (features, labels) = all(&table);
            prop_assert_eq!(features.len(), labels.len() * table.shape().inputs);
            prop_assert!(features.iter().all(|value| value.is_finite()));
        }
    }
}

#[test]
fn files_cut_or_changed_anywhere_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let labels = file(folder.path(), "labels", &idx(&[3], &[7, 0, 2]));
    let harmless = |bytes: &[u8]| {
        let paths = [file(folder.path(), "images", bytes), labels.clone()];
        let _ = Table::open(&paths[..1], AS_IT_IS, SEED);
        let _ = Table::open(&paths, AS_IT_IS, SEED);
    };
    let csv = b"a,b,c\n1,2,0\n3,4.5,1\n".to_vec();
    let libsvm = b"+1 1:0.5 3:2\n-1 2:-1e1\n".to_vec();
    for good in [gzip(&csv), csv, libsvm, idx(&[3, 2, 2], &[9; 12])] {
        for place in 0..good.len() {
            harmless(&good[..place]);
            for byte in [0, good[place] ^ 1, good[place] ^ 0x80, 0xff, b':', b'9'] {
                let mut changed = good.clone();
                changed[place] = byte;
                harmless(&changed);
            }
        }
    }
}
