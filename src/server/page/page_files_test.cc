#include "server/page/page_files.h"

#include <gmock/gmock.h>
#include <openssl/evp.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>

namespace nosa::server {
namespace {

std::string ReadSource(const std::string& name) {
  std::ifstream in(std::string(NOSA_SOURCE_DIR "/src/server/page/web/") + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(PageFilesTest, AreThoseOfTheTree) {
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(NOSA_SOURCE_DIR "/src/server/page/web")) {
    const std::string name = entry.path().filename();
    const PageFile* file = FindPageFile(name);
    ASSERT_NE(file, nullptr) << name;
    EXPECT_TRUE(file->bytes == ReadSource(name)) << name;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    EVP_Digest(file->bytes.data(), file->bytes.size(), digest, &length, EVP_sha256(), nullptr);
    std::string hex;
    for (unsigned int i = 0; i < length; ++i) {
      constexpr char kDigits[] = "0123456789abcdef";
      hex += {kDigits[digest[i] / 16], kDigits[digest[i] % 16]};
    }
    EXPECT_EQ(file->digest, hex) << name;
    EXPECT_NE(ContentTypeOf(name), "application/octet-stream") << name;
    ++files;
  }
  EXPECT_EQ(PageFiles().size(), files);
  EXPECT_EQ(FindPageFile("../page_files.h"), nullptr);
  EXPECT_EQ(FindPageFile(""), nullptr);
}

// The policy of the page lets nothing in from elsewhere, and no script or style that stands in the page itself.
TEST(PageFilesTest, NeedNothingFromElsewhere) {
  const std::regex elsewhere(R"((src|href|url|import|from)\s*[=(]?\s*["']?\s*(https?:)?//)");
  const std::regex within(R"(<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=\s*["'])");
  for (const PageFile& file : PageFiles()) {
    const std::string bytes(file.bytes);
    EXPECT_FALSE(std::regex_search(bytes, elsewhere)) << file.name;
    if (file.name.ends_with(".html")) {
      EXPECT_FALSE(std::regex_search(bytes, within)) << file.name;
    }
  }
  EXPECT_TRUE(std::regex_search(std::string("<link href=\"//example.org/a.css\">"), elsewhere));
  EXPECT_TRUE(std::regex_search(std::string("<script type=\"module\">"), within));
}

TEST(PageFilesTest, EveryFileThatIsNamedIsThere) {
  const std::regex named(R"re((?:"/page/|from "\./)([a-z]+\.(?:js|css)))re");
  size_t names = 0;
  for (const PageFile& file : PageFiles()) {
    const std::string bytes(file.bytes);
    for (std::sregex_iterator it(bytes.begin(), bytes.end(), named), end; it != end; ++it, ++names) {
      EXPECT_NE(FindPageFile((*it)[1].str()), nullptr) << file.name << " names " << (*it)[1];
    }
  }
  EXPECT_GT(names, 8u);
}

}  // namespace
}  // namespace nosa::server
