// Memory that every backend under test can address: what ops read and write in tests, and what their plans point to.
// (Plans themselves may lie anywhere.) Without a GPU it is the heap's, so that sanitizers see every byte past its end.
//
// With one it is pinned, and cut from slabs, as pinning each piece takes a millisecond. NOSA_TEST_SEPARATE=1 gives
// every piece pages of its own, at whose end it lies, so that whoever passes its end is seen: by tools that check a
// device's accesses, and by the hardware where the next page is nobody's.
#pragma once

#include <array>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "tensor/buffer.h"
#include "tests/cuda_device.h"

namespace nosa::ops {

class TestMemory {
 public:
  // Never destroyed: the driver may be gone before static objects are.
  static TestMemory& Get() {
    static TestMemory* const memory = new TestMemory();
    return *memory;
  }

  // Aligned to 16 bytes at least, contents unspecified.
  std::byte* Allocate(size_t bytes) {
    if (!cuda_) return static_cast<std::byte*>(::operator new(bytes, kPlainAlignment));
    const std::lock_guard lock(mutex_);
    const size_t need = RoundUp(std::max<size_t>(bytes, 1), kAlignment);
    if (separate_) {
      Buffer pages = Take(RoundUp(need, kPage));
      std::byte* data = pages.data() + (RoundUp(need, kPage) - need);
      pages_.emplace(data, std::move(pages));
      return data;
    }
    std::vector<std::byte*>& free = free_[Class(need)];
    if (free.empty()) {
      const size_t piece = size_t{1} << Class(need);
      if (left_ < piece) {
        left_ = std::max(piece, kSlab);
        next_ = slabs_.emplace_back(Take(left_)).data();
      }
      free.push_back(next_);
      next_ += piece;
      left_ -= piece;
    }
    std::byte* data = free.back();
    free.pop_back();
    return data;
  }

  void Free(std::byte* data, size_t bytes) {
    if (!cuda_) return ::operator delete(data, kPlainAlignment);
    const std::lock_guard lock(mutex_);
    if (separate_) {
      pages_.erase(data);
    } else {
      free_[Class(RoundUp(std::max<size_t>(bytes, 1), kAlignment))].push_back(data);
    }
  }

 private:
  static constexpr size_t kAlignment = 16, kPage = 4096, kSlab = size_t{32} << 20;
  static constexpr std::align_val_t kPlainAlignment{64};

  TestMemory() {
    const auto cuda = CudaForTests(true);
    if (cuda.ok()) cuda_ = *cuda;
    const char* separate = std::getenv("NOSA_TEST_SEPARATE");
    separate_ = separate != nullptr && separate[0] == '1';
  }
  // The power of two that holds `bytes`.
  static size_t Class(size_t bytes) { return static_cast<size_t>(std::bit_width(std::max<size_t>(bytes, 256) - 1)); }
  Buffer Take(size_t bytes) {
    Result<Buffer> pinned = cuda_->Allocate(bytes, MemoryKind::kPinned);
    NOSA_CHECK(pinned.ok(), "{}", pinned.status().ToString());
    return std::move(pinned).value();
  }

  std::mutex mutex_;
  std::shared_ptr<Backend> cuda_;  // null: there is none
  bool separate_ = false;
  std::array<std::vector<std::byte*>, 64> free_;  // by class
  std::vector<Buffer> slabs_;
  std::byte* next_ = nullptr;
  size_t left_ = 0;
  std::map<std::byte*, Buffer> pages_;
};

template <typename T>
struct TestAllocator {
  using value_type = T;
  TestAllocator() = default;
  template <typename U>
  TestAllocator(const TestAllocator<U>&) {}  // NOLINT: implicit, as containers ask
  T* allocate(size_t n) { return reinterpret_cast<T*>(TestMemory::Get().Allocate(n * sizeof(T))); }
  void deallocate(T* data, size_t n) { TestMemory::Get().Free(reinterpret_cast<std::byte*>(data), n * sizeof(T)); }
  friend bool operator==(const TestAllocator&, const TestAllocator&) { return true; }
};

// What an op dereferences or writes, in a test.
template <typename T>
using TestVector = std::vector<T, TestAllocator<T>>;

// The same as a Buffer, zeroed, of exactly `bytes`.
inline Buffer TestBuffer(size_t bytes) {
  std::byte* data = TestMemory::Get().Allocate(bytes);
  std::fill(data, data + bytes, std::byte{0});
  return Buffer(data, bytes, MemoryKind::kHost,
                [](void* p, size_t n, void*) { TestMemory::Get().Free(static_cast<std::byte*>(p), n); });
}

}  // namespace nosa::ops
