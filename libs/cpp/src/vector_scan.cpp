#include "sage/vector_scan.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <limits>
#include <mutex>
#include <thread>

namespace sage {

namespace {

constexpr float no_floor = -std::numeric_limits<float>::infinity();
// Panels that a thread takes at once: their floors are as of its beginning.
constexpr std::size_t chunk_panels = 64;
// Products below which a thread costs more than it saves.
constexpr std::size_t products_a_thread = std::size_t{1} << 21;
// Candidates of a query that are kept before those that the floor has overtaken are dropped.
constexpr std::size_t most_unsorted = 4096;

// Panels first up to last of a segment.
struct Chunk {
  std::size_t segment, first, last;
};

std::vector<Chunk> chunks_of(const std::vector<const PackedRows*>& segments) {
  std::vector<Chunk> chunks;
  for (std::size_t segment = 0; segment < segments.size(); ++segment)
    for (std::size_t first = 0; first < segments[segment]->panels(); first += chunk_panels)
      chunks.push_back({segment, first, std::min(first + chunk_panels, segments[segment]->panels())});
  return chunks;
}

// Shared locks on rows, each taken once.
class ScanLock {
 public:
  explicit ScanLock(std::vector<const PackedRows*> segments) {
    std::sort(segments.begin(), segments.end(), std::less<>());
    segments.erase(std::unique(segments.begin(), segments.end()), segments.end());
    for (const PackedRows* rows : segments) locks_.emplace_back(rows->mutex());
  }

 private:
  std::vector<std::shared_lock<std::shared_mutex>> locks_;
};

// Run `work(worker)` in as many threads as are worth it for so many products, the caller's among them. The first
// exception of a worker is thrown here.
void in_threads(std::size_t workers, const std::function<void(std::size_t)>& work) {
  std::vector<std::exception_ptr> failures(workers);
  const auto guarded = [&](std::size_t worker) noexcept {
    try {
      work(worker);
    } catch (...) {
      failures[worker] = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(workers);
  try {
    for (std::size_t worker = 1; worker < workers; ++worker) threads.emplace_back(guarded, worker);
  } catch (const std::system_error&) {
    // No more threads are to be had: those that there are take all the chunks.
  }
  guarded(0);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

std::size_t worth_threads(std::size_t threads, std::size_t panels, const QueryCodes& queries) {
  const std::size_t products = panels * panel_rows * queries.dimension() * queries.count();
  return std::max<std::size_t>(1, std::min({threads, products / products_a_thread, panels / 2}));
}

// Scan a chunk and hand each row that can reach its query's floor to `take(query, row, estimate, error)`. `floors`
// may rise while it does.
template <typename Take>
void scan_chunk(const PackedRows& rows, const Chunk& chunk, const QueryCodes& queries, const float* floors,
                const std::vector<QueryTile>& tiles, Take&& take) {
  constexpr std::size_t widest = 16;
  std::uint32_t reached[widest];
  alignas(64) float estimates[widest * panel_rows];
  const std::size_t width = queries.variant().tile_queries;
  for (std::size_t index = chunk.first; index < chunk.last; ++index) {
    const Panel panel{rows.panel(index), rows.scales(index), rows.errors(index), rows.rests(index), rows.quads()};
    const std::size_t first_row = index * panel_rows;
    const std::size_t left = rows.rows() - first_row;
    const std::uint32_t there = left >= panel_rows ? 0xFFFFU : (1U << left) - 1;
    for (std::size_t tile = 0; tile < tiles.size(); ++tile) {
      if (!queries.variant().scan(panel, tiles[tile], floors + tile * width, {reached, estimates})) continue;
      for (std::size_t one = 0; one < tiles[tile].queries; ++one)
        for (std::uint32_t bits = reached[one] & there; bits != 0; bits &= bits - 1) {
          std::size_t lane = 0;
          while (((bits >> lane) & 1U) == 0) ++lane;
          take(tile * width + one, first_row + lane, estimates[one * panel_rows + lane], panel.errors[lane]);
        }
    }
  }
}

std::vector<QueryTile> tiles_of(const QueryCodes& queries, const float* floors) {
  std::vector<QueryTile> tiles;
  for (std::size_t tile = 0; tile < queries.tiles(); ++tile) tiles.push_back(queries.tile(tile, floors));
  return tiles;
}

// What a worker has found for one query: the k greatest least scores as a heap, and who can be among the nearest.
class Found {
 public:
  void take(std::size_t k, std::size_t row, float estimate, float bound) {
    const float least = estimate - bound;
    if (least_.size() < k) {
      least_.push_back(least);
      std::push_heap(least_.begin(), least_.end(), std::greater<>());
    } else if (least > least_.front()) {
      std::pop_heap(least_.begin(), least_.end(), std::greater<>());
      least_.back() = least;
      std::push_heap(least_.begin(), least_.end(), std::greater<>());
    }
    candidates_.push_back({static_cast<std::uint32_t>(row), estimate + bound});
  }

  // The k-th greatest least score so far, below which nothing counts any more.
  float floor(std::size_t k) const { return least_.size() < k ? no_floor : least_.front(); }

  // Drop what the floor has overtaken, where there is enough of it.
  void tidy(float floor) {
    if (candidates_.size() < next_tidy_) return;
    candidates_.erase(std::remove_if(candidates_.begin(), candidates_.end(),
                                     [floor](const Candidate& one) { return one.most < floor; }),
                      candidates_.end());
    next_tidy_ = std::max(most_unsorted, 2 * candidates_.size());
  }

  const std::vector<float>& least() const { return least_; }

  void append_to(std::vector<std::int64_t>& rows, float floor) const {
    for (const Candidate& one : candidates_)
      if (one.most >= floor) rows.push_back(one.row);
  }

 private:
  struct Candidate {
    std::uint32_t row;
    float most;
  };
  std::vector<float> least_;
  std::vector<Candidate> candidates_;
  std::size_t next_tidy_ = most_unsorted;
};

void raise_to(std::atomic<float>& shared, float value) {
  float seen = shared.load(std::memory_order_relaxed);
  while (seen < value && !shared.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

}  // namespace

Candidates nearest_candidates(const PackedRows& rows, const QueryCodes& queries, std::size_t k,
                              const std::uint8_t* allowed, std::size_t allowed_rows, std::size_t threads) {
  const ScanLock lock({&rows});
  const std::vector<Chunk> chunks = chunks_of({&rows});
  const std::size_t workers = worth_threads(threads, rows.panels(), queries), count = queries.count();
  std::vector<std::vector<Found>> found(workers, std::vector<Found>(count));
  std::vector<std::atomic<float>> shared(count);
  for (std::atomic<float>& floor : shared) floor.store(no_floor, std::memory_order_relaxed);
  std::atomic<std::size_t> next{0};

  in_threads(workers, [&](std::size_t worker) {
    std::vector<Found>& mine = found[worker];
    std::vector<float> floors(count);
    for (std::size_t at = next.fetch_add(1); at < chunks.size(); at = next.fetch_add(1)) {
      for (std::size_t query = 0; query < count; ++query) {
        floors[query] = shared[query].load(std::memory_order_relaxed);
        mine[query].tidy(floors[query]);
      }
      const std::vector<QueryTile> tiles = tiles_of(queries, floors.data());
      scan_chunk(rows, chunks[at], queries, floors.data(), tiles,
                 [&](std::size_t query, std::size_t row, float estimate, float error) {
                   if (allowed != nullptr && (row >= allowed_rows || allowed[row] == 0)) return;
                   mine[query].take(k, row, estimate, queries.slack(query) + queries.growth(query) * error);
                   floors[query] = std::max(floors[query], mine[query].floor(k));
                 });
      for (std::size_t query = 0; query < count; ++query) raise_to(shared[query], floors[query]);
    }
  });

  Candidates result;
  result.offsets.reserve(count + 1);
  result.offsets.push_back(0);
  std::vector<float> least;
  for (std::size_t query = 0; query < count; ++query) {
    least.clear();
    for (const auto& mine : found) least.insert(least.end(), mine[query].least().begin(), mine[query].least().end());
    float floor = no_floor;
    if (least.size() >= k) {
      std::nth_element(least.begin(), least.begin() + static_cast<std::ptrdiff_t>(k - 1), least.end(),
                       std::greater<>());
      floor = least[k - 1];
    }
    for (const auto& mine : found) mine[query].append_to(result.rows, floor);
    std::sort(result.rows.begin() + result.offsets.back(), result.rows.end());
    result.offsets.push_back(static_cast<std::int64_t>(result.rows.size()));
  }
  return result;
}

std::vector<Pair> pairs_above(const std::vector<const PackedRows*>& segments, const QueryCodes& queries,
                              float threshold, std::size_t most, std::size_t threads) {
  const ScanLock lock(segments);
  const std::vector<Chunk> chunks = chunks_of(segments);
  std::size_t panels = 0;
  for (const PackedRows* rows : segments) panels += rows->panels();
  const std::size_t workers = worth_threads(threads, panels, queries);
  const std::vector<float> floors(queries.count(), threshold);
  const std::vector<QueryTile> tiles = tiles_of(queries, floors.data());
  std::vector<std::vector<Pair>> found(workers);
  std::atomic<std::size_t> next{0}, total{0};

  in_threads(workers, [&](std::size_t worker) {
    std::vector<Pair>& mine = found[worker];
    for (std::size_t at = next.fetch_add(1); at < chunks.size(); at = next.fetch_add(1)) {
      const Chunk& chunk = chunks[at];
      const std::size_t before = mine.size();
      scan_chunk(*segments[chunk.segment], chunk, queries, floors.data(), tiles,
                 [&](std::size_t query, std::size_t row, float, float) {
                   mine.push_back({static_cast<std::int64_t>(chunk.segment), static_cast<std::int64_t>(row),
                                   static_cast<std::int64_t>(query)});
                 });
      if (total.fetch_add(mine.size() - before) + (mine.size() - before) > most)
        throw std::overflow_error("more than " + std::to_string(most) + " pairs reach the threshold");
    }
  });

  std::vector<Pair> pairs = std::move(found[0]);
  for (std::size_t worker = 1; worker < workers; ++worker)
    pairs.insert(pairs.end(), found[worker].begin(), found[worker].end());
  std::sort(pairs.begin(), pairs.end(), [](const Pair& one, const Pair& other) {
    if (one.segment != other.segment) return one.segment < other.segment;
    return one.row != other.row ? one.row < other.row : one.query < other.query;
  });
  return pairs;
}

}  // namespace sage
