#include "tenon/arrow.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "tests/store/store_fixture.h"

namespace tenon {
namespace {

// What a reader of the stream does.
class Reader {
 public:
  explicit Reader(const std::string& sql, std::size_t batch_rows = arrow_batch_rows) {
    export_arrow(session_.query(sql), &stream_, batch_rows);
    EXPECT_EQ(stream_.get_schema(&stream_, &schema_), 0);
  }
  ~Reader() {
    if (schema_.release != nullptr) schema_.release(&schema_);
    if (batch_.release != nullptr) batch_.release(&batch_);
    if (stream_.release != nullptr) stream_.release(&stream_);
  }

  std::string formats() const {
    std::string formats;
    for (std::int64_t i = 0; i < schema_.n_children; ++i) formats += schema_.children[i]->format;
    return formats;
  }
  const ArrowSchema& schema() const { return schema_; }
  int next() {
    if (batch_.release != nullptr) batch_.release(&batch_);
    return stream_.get_next(&stream_, &batch_);
  }
  bool is_over() const { return batch_.release == nullptr; }
  std::int64_t length() const { return batch_.length; }
  const ArrowArray& column(std::size_t i) const { return *batch_.children[i]; }
  template <typename T>
  std::vector<T> numbers(std::size_t i) const {
    const auto* const begin = static_cast<const T*>(column(i).buffers[1]);
    return {begin, begin + column(i).length};
  }
  std::string text(std::size_t i, std::size_t row) const {
    const auto* const offsets = static_cast<const std::int64_t*>(column(i).buffers[1]);
    const auto* const bytes = static_cast<const char*>(column(i).buffers[2]);
    return {bytes + offsets[row], bytes + offsets[row + 1]};
  }
  std::string failure() { return stream_.get_last_error(&stream_); }
  ArrowArrayStream& stream() { return stream_; }

 private:
  Session session_;
  ArrowArrayStream stream_{};
  ArrowSchema schema_{};
  ArrowArray batch_{};
};

TEST(Arrow, EveryKindOfValueHasItsType) {
  Reader reader("SELECT 1 AS i, 2.5 AS r, 'x' AS t, x'00ff' AS b, NULL AS n");
  EXPECT_EQ(reader.formats(), "lgUZU");
  EXPECT_STREQ(reader.schema().children[2]->name, "t");
  ASSERT_EQ(reader.next(), 0);
  EXPECT_EQ(reader.length(), 1);
  EXPECT_EQ(reader.numbers<std::int64_t>(0), (std::vector<std::int64_t>{1}));
  EXPECT_EQ(reader.numbers<double>(1), (std::vector<double>{2.5}));
  EXPECT_EQ(reader.text(2, 0), "x");
  EXPECT_EQ(reader.text(3, 0), std::string("\0\xff", 2));
  EXPECT_EQ(reader.column(4).null_count, 1);
  ASSERT_EQ(reader.next(), 0);
  EXPECT_TRUE(reader.is_over());
}

TEST(Arrow, NullsHaveABitOfTheirOwn) {
  Reader reader("VALUES (1), (NULL), (3)");
  ASSERT_EQ(reader.next(), 0);
  EXPECT_EQ(reader.column(0).null_count, 1);
  EXPECT_EQ(*static_cast<const std::uint8_t*>(reader.column(0).buffers[0]), 0b101);
}

TEST(Arrow, ValuesOfSeveralKindsFindACommonOne) {
  Reader numbers("VALUES (1), (2.5)");
  EXPECT_EQ(numbers.formats(), "g");
  ASSERT_EQ(numbers.next(), 0);
  EXPECT_EQ(numbers.numbers<double>(0), (std::vector<double>{1, 2.5}));
  Reader words("VALUES (1), ('a'), (0.5)");
  EXPECT_EQ(words.formats(), "U");
  ASSERT_EQ(words.next(), 0);
  EXPECT_EQ(words.text(0, 0) + words.text(0, 1) + words.text(0, 2), "1a0.5");
}

TEST(Arrow, RowsComeInBatchesAndOutliveTheStream) {
  Reader reader("WITH RECURSIVE t(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM t LIMIT 7) SELECT i FROM t", 3);
  std::vector<std::int64_t> lengths, values;
  while (reader.next() == 0 && !reader.is_over()) {
    lengths.push_back(reader.length());
    const auto some = reader.numbers<std::int64_t>(0);
    values.insert(values.end(), some.begin(), some.end());
  }
  EXPECT_EQ(lengths, (std::vector<std::int64_t>{3, 3, 1}));
  EXPECT_EQ(values, (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7}));
}

TEST(Arrow, ABatchOutlivesItsStream) {
  Reader reader("SELECT 'still here' AS t");
  ASSERT_EQ(reader.next(), 0);
  reader.stream().release(&reader.stream());
  EXPECT_EQ(reader.stream().release, nullptr);
  EXPECT_EQ(reader.text(0, 0), "still here");
}

TEST(Arrow, NoRowsAreASchemaAndNoBatch) {
  Reader reader("SELECT 1 AS i WHERE 0");
  EXPECT_EQ(reader.schema().n_children, 1);
  ASSERT_EQ(reader.next(), 0);
  EXPECT_TRUE(reader.is_over());
}

TEST(Arrow, ATypeThatChangesLaterIsAnErrorWithWords) {
  Reader reader("VALUES (1), (2), ('x')", 2);
  ASSERT_EQ(reader.next(), 0);
  EXPECT_EQ(reader.next(), EINVAL);
  EXPECT_NE(reader.failure().find("changes its type"), std::string::npos) << reader.failure();
}

}  // namespace
}  // namespace tenon
